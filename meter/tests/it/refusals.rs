//! Modules that are refused, and what the digests and the cost table are held to.

use crate::host::{metered, refused};
use tallymill_meter::{CostTable, Extent, ImportFault, MeterError, abi, meter};

/// Where in the module of this text an entry with this name stands.
fn place(text: &str, name: &str) -> usize {
    let bytes = wat::parse_str(text).unwrap();
    let entry = [&[u8::try_from(name.len()).unwrap()], name.as_bytes()].concat();
    bytes.windows(entry.len()).position(|window| window == entry).unwrap()
}

/// The text names the rule first, then the place.
#[track_caller]
fn says(error: &MeterError, rule: &str, offset: usize, function: Option<u32>) {
    let text = error.to_string();
    let function = function.map(|index| format!("function {index}"));
    assert!(text.starts_with(rule), "{text}");
    assert!(text.contains(&format!("at offset {offset}")), "{text}");
    let named = text.match_indices("function ").any(|(at, found)| {
        text[at + found.len()..].starts_with(|next: char| next.is_ascii_digit())
    });
    assert_eq!(function.is_some(), named, "{text}");
    assert!(function.is_none_or(|function| text.contains(&function)), "{text}");
}

#[test]
fn names_with_the_reserved_prefix() {
    let kinds = [
        ("(func) (func (export \"tallymill:fuel\"))", "tallymill:fuel", Some(1)),
        ("(func (export \"f\")) (memory (export \"tallymill:\") 1)", "tallymill:", None),
    ];
    for (kind, name, function) in kinds {
        let text = format!("(module {kind})");
        let offset = place(&text, name);
        let error = refused(&text);
        let name = name.to_owned();
        assert_eq!(error, MeterError::ReservedExport { name, offset, function });
        assert_eq!(error.rule(), 1);
        says(&error, "rule 1 (what is accepted)", offset, function);
    }
    metered(r#"(module (func (export "tallymill")))"#);
}

#[test]
fn imports_that_are_not_offered() {
    for (import, fault) in [
        (r#""env" "nxt" (func (param i32) (result i32))"#, ImportFault::NotOffered),
        (r#""en" "next" (func (param i32) (result i32))"#, ImportFault::NotOffered),
        (r#""env" "next" (func (param i64) (result i32))"#, ImportFault::Signature),
        (r#""env" "next" (func (param i32))"#, ImportFault::Signature),
        (r#""env" "next" (func (param i32 i32) (result i32))"#, ImportFault::Signature),
        (r#""env" "next" (memory 1)"#, ImportFault::NotAFunction),
        (r#""env" "next" (table 1 funcref)"#, ImportFault::NotAFunction),
        (r#""env" "next" (global i32)"#, ImportFault::NotAFunction),
        (r#""env" "tallymill:count" (global (mut i64))"#, ImportFault::NotAFunction),
    ] {
        let first = r#"(import "env" "next" (func (param i32) (result i32)))"#;
        let text = format!("(module {first} (import {import}))");
        let error = refused(&text);
        let MeterError::Import { module, fault: found, offset, function, .. } = &error else {
            panic!("{error}")
        };
        assert_eq!(*found, fault, "{import}");
        // The second of the imports that are alike.
        let bytes = wat::parse_str(&text).unwrap();
        let name = [&[u8::try_from(module.len()).unwrap()], module.as_bytes()].concat();
        let at = bytes.windows(name.len()).rposition(|window| window == name).unwrap();
        let index = (fault != ImportFault::NotAFunction).then_some(1);
        assert_eq!((*offset, *function), (at, index), "{import}");
        says(&error, "rule 1 (what is accepted)", at, index);
    }
}

#[test]
fn proposals_outside_the_profile() {
    for text in [
        "(func $f (return_call $f))",
        "(memory i64 1)",
        "(memory 1 1 shared)",
        "(memory 1 (pagesize 1))",
        "(tag)",
        "(func (try_table))",
        "(type (struct))",
        "(func (param externref))",
        "(func (param (ref func)))",
        "(global i32 (i32.add (i32.const 1) (i32.const 2)))",
        "(memory 1) (func (drop (i32.atomic.load (i32.const 0))))",
        "(func (param v128) (drop (f32x4.relaxed_min (local.get 0) (local.get 0))))",
        "(func (param i64) (drop (i64.add128 (local.get 0) (local.get 0) (local.get 0) (local.get 0))) drop)",
    ] {
        let error = refused(&format!("(module {text})"));
        assert!(matches!(error, MeterError::Invalid { .. }), "{text}: {error}");
    }
    let component = wat::parse_str("(component)").unwrap();
    assert!(matches!(
        meter(&component, &crate::host::profile()).unwrap_err(),
        MeterError::Invalid { .. }
    ));
}

#[test]
fn a_start_export_that_cannot_be_called() {
    for (text, function) in [
        (r#"(func (export "f")) (func (export "_start") (param i32))"#, Some(1)),
        (r#"(func (export "_start") (result i32) (i32.const 0))"#, Some(0)),
        (r#"(memory (export "_start") 1)"#, None),
    ] {
        let text = format!("(module {text})");
        let error = refused(&text);
        let offset = place(&text, "_start");
        assert_eq!(error, MeterError::StartSignature { offset, function });
        says(&error, "rule 1 (what is accepted)", offset, function);
    }
}

#[test]
fn bytes_that_are_no_module() {
    let whole = wat::parse_str(r#"(module (func (export "f") (drop (i32.const 1))))"#).unwrap();
    for len in 0..whole.len() {
        let error = meter(&whole[..len], &crate::host::profile());
        // Cut after a whole section before the code, it may still be valid: then it is accepted.
        assert!(error.is_err() || wasmparser::validate(&whole[..len]).is_ok(), "{len}");
    }
    assert!(meter(b"\0asm\x01\0\0\0garbage", &crate::host::profile()).is_err());
    let text = meter(b"#!/bin/sh", &crate::host::profile()).unwrap_err().to_string();
    assert!(text.starts_with("rule 1 ") && text.lines().count() == 1, "{text}");
}

#[test]
fn what_is_invalid_names_its_function_also_where_bytes_are_missing() {
    let text = r#"(module (import "env" "next" (func (param i32) (result i32))) (func)
        (func (drop (i32.add (i32.const 1) (i64.const 2)))))"#;
    let (bytes, bad) = (wat::parse_str(text.replace("i64", "i32")).unwrap(), text);
    let of = |module: &[u8]| meter(module, &crate::host::profile()).unwrap_err();
    // The last four bytes: the constant, the addition, the drop and the end of the second function.
    let error = of(&wat::parse_str(bad).unwrap());
    says(&error, "rule 1 (what is accepted)", bytes.len() - 3, Some(2));
    for cut in 1..=6 {
        let error = of(&bytes[..bytes.len() - cut]);
        let MeterError::Invalid { function: Some(2), offset, .. } = error else {
            panic!("{cut}: {error}")
        };
        assert!(offset <= bytes.len() && offset >= bytes.len() - 9, "{cut}: {error}");
    }
    // What is wrong elsewhere is in no function.
    let elsewhere = of(&wat::parse_str("(module (func) (global i32 (i64.const 0)))").unwrap());
    let MeterError::Invalid { function: None, offset, .. } = elsewhere else {
        panic!("{elsewhere}")
    };
    says(&elsewhere, "rule 1 (what is accepted)", offset, None);
}

#[test]
fn the_same_module_gives_the_same_bytes() {
    let text = r#"(module (memory (export "memory") 2 3) (table 4 funcref)
        (func (export "_start") (memory.fill (i32.const 0) (i32.const 0) (memory.size))))"#;
    let (one, two) = (metered(text), metered(text));
    assert_eq!(one, two);
    assert_eq!(one.original_digest, *blake3::hash(&wat::parse_str(text).unwrap()).as_bytes());
    assert_eq!(one.metered_digest, *blake3::hash(&one.bytes).as_bytes());
    let info = one.info;
    assert!(info.exports_start && info.exports_memory && !info.start_function);
    assert_eq!(info.memory, Some(Extent { min: 2, max: Some(3) }));
    assert_eq!(info.table, Some(Extent { min: 4, max: None }));
    assert_eq!(info.functions, 1);
    assert!(info.fits(2, 4) && !info.fits(1, 4) && !info.fits(2, 3));
}

#[test]
fn a_metered_module_cannot_be_metered_again() {
    let once = metered("(module (func))");
    let error = meter(&once.bytes, &crate::host::profile()).unwrap_err();
    assert!(matches!(error, MeterError::ReservedExport { .. }), "{error}");
}

#[test]
fn every_name_of_the_contract_has_the_reserved_prefix_and_is_exported() {
    let metered = metered("(module (func $f) (start $f))");
    let module = wasmtime::Module::new(&crate::host::ENGINE, &metered.bytes).unwrap();
    let mut names: Vec<_> = module.exports().map(|export| export.name().to_owned()).collect();
    let mut expected = [
        abi::MARK,
        abi::COUNT,
        abi::LIMIT,
        abi::STACK,
        abi::PAGES,
        abi::ENTRIES,
        abi::CAUSE,
        abi::INTEGRAL,
        abi::GROWN,
        abi::HOOKS,
        abi::FINISH,
        abi::START,
    ];
    names.sort_unstable();
    expected.sort_unstable();
    assert_eq!(names, expected);
    assert!(expected.iter().all(|name| name.starts_with(abi::PREFIX)));
}

#[test]
fn version_1_of_the_cost_table_never_changes() {
    let table = CostTable::v1();
    assert_eq!(table.version(), 1);
    assert_eq!(table.hash(), *blake3::hash(table.text().as_bytes()).as_bytes());
    let hex: String = table.hash().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, "659cba3ac254e15c947866ff62e8312e2074fd08413537d3bd4c08743df655b5");
}
