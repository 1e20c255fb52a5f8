//! Modules in steps: the host reads and sets what the guest keeps between two calls.

use crate::host::{End, Grant, Guest, metered, refused};
use tallymill_meter::{Limit, MeterError, abi};
use wasmtime::{Func, Ref, Val};

/// Everything that a guest can keep, with functions to look at it.
const KEEPER: &str = r#"(module
    (import "env" "next" (func $next (param i32) (result i32)))
    (memory (export "memory") 1)
    (table $t 4 9 funcref)
    (global i32 (i32.const 9))
    (global $a (mut i32) (i32.const -7))
    (global $b (mut i64) (i64.const -8))
    (global $c (mut f32) (f32.const nan:0x12345))
    (global $d (mut f64) (f64.const -nan:0x123456789))
    (global $e (mut v128) (v128.const i64x2 5 -6))
    (global $f (mut funcref) (ref.func $next))
    (elem (table $t) (i32.const 1) func $one)
    (elem $passive func $two $next)
    (data (i32.const 0) "active")
    (data $bytes "passive")
    (data $never "kept")
    (func $one (result i32) (i32.const 1))
    (func $two (result i32) (i32.const 2))
    (func $unnamed (result i32) (i32.const 3))
    (func (export "init"))
    (func (export "step") (param i64) (result i32)
        (if (i64.eqz (local.get 0)) (then (data.drop $bytes) (elem.drop $passive)))
        (i32.const 0))
    (func (export "copy") (memory.init $bytes (i32.const 8) (i32.const 0) (i32.const 7)))
    (func (export "take") (memory.init $never (i32.const 8) (i32.const 0) (i32.const 1)))
    (func (export "is_null") (result i32) (ref.is_null (global.get $f)))
    (func (export "bits") (result i64) (i64.reinterpret_f64 (global.get $d)))
    (func (export "high") (result i64) (i64x2.extract_lane 1 (global.get $e)))
    (func (export "call") (param i32) (result i32) (call_indirect $t (result i32) (local.get 0))))"#;

fn get(guest: &mut Guest, global: &str) -> Vec<Val> {
    match guest.call(&format!("{}{global}", abi::GET), &[]) {
        End::Returned(values) => values,
        stopped @ End::Stopped(..) => panic!("{stopped:?}"),
    }
}

fn set(guest: &mut Guest, global: &str, values: &[Val]) {
    assert!(matches!(guest.call(&format!("{}{global}", abi::SET), values), End::Returned(_)));
}

fn int(guest: &mut Guest, global: &str) -> i64 {
    get(guest, global)[0].unwrap_i64()
}

fn entry(guest: &mut Guest, table: &str, at: u64) -> Option<Func> {
    let table = guest.instance.get_table(&mut guest.store, table).unwrap();
    match table.get(&mut guest.store, at).unwrap() {
        Ref::Func(func) => func,
        other => panic!("{other:?}"),
    }
}

/// Whether two references are of the same function.
fn same(guest: &mut Guest, one: Option<Func>, other: Option<Func>) -> bool {
    let mut raw = |func: Option<Func>| func.map(|func| func.to_raw(&mut guest.store));
    raw(one) == raw(other)
}

#[test]
fn mutable_globals_are_read_and_set_with_all_their_bits() {
    let mut guest = Guest::new(KEEPER, Grant::default());
    assert_eq!(int(&mut guest, "0:i32"), 0xffff_fff9);
    assert_eq!(int(&mut guest, "1:i64"), -8);
    assert_eq!(int(&mut guest, "2:f32"), 0x7f81_2345);
    assert_eq!(int(&mut guest, "3:f64").cast_unsigned(), 0xfff0_0001_2345_6789);
    let vector: Vec<i64> = get(&mut guest, "4:v128").iter().map(Val::unwrap_i64).collect();
    assert_eq!(vector, [5, -6]);
    let signalling = 0x7ff0_dead_0000_0001;
    for (global, values) in [
        ("0:i32", vec![1]),
        ("1:i64", vec![i64::MIN]),
        ("2:f32", vec![0x7fa0_0001]),
        ("3:f64", vec![signalling]),
        ("4:v128", vec![3, 4]),
    ] {
        let values: Vec<Val> = values.into_iter().map(Val::I64).collect();
        set(&mut guest, global, &values);
        assert_eq!(format!("{:?}", get(&mut guest, global)), format!("{values:?}"));
    }
    let End::Returned(bits) = guest.call("bits", &[]) else { panic!("stopped") };
    assert_eq!(bits[0].unwrap_i64(), signalling);
    let End::Returned(high) = guest.call("high", &[]) else { panic!("stopped") };
    assert_eq!(high[0].unwrap_i64(), 4);
    assert!(guest.instance.get_func(&mut guest.store, "tallymill:get:6:i32").is_none());
}

#[test]
fn references_are_found_among_the_functions_behind_the_hook() {
    let mut guest = Guest::new(KEEPER, Grant::default());
    let [import, one, two, unnamed] = [0, 1, 2, 3].map(|at| entry(&mut guest, abi::HOOKS, at + 1));
    assert!(import.is_some() && one.is_some() && two.is_some() && unnamed.is_none());
    let held = get(&mut guest, "5:funcref")[0].unwrap_funcref().copied();
    assert!(same(&mut guest, held, import) && !same(&mut guest, held, one));
    let first = entry(&mut guest, abi::TABLE, 1);
    assert!(same(&mut guest, first, one));
    assert!(entry(&mut guest, abi::TABLE, 0).is_none());
    let table = guest.instance.get_table(&mut guest.store, abi::TABLE).unwrap();
    table.grow(&mut guest.store, 3, Ref::Func(None)).unwrap();
    table.set(&mut guest.store, 6, Ref::Func(two)).unwrap();
    assert_eq!(guest.call("call", &[Val::I32(6)]).i32(), 2);
    set(&mut guest, "5:funcref", &[Val::FuncRef(None)]);
    assert_eq!(guest.call("is_null", &[]).i32(), 1);
}

#[test]
fn segments_that_the_guest_dropped_are_known_and_can_be_dropped_for_it() {
    let flags = |guest: &mut Guest| {
        let names = [format!("{}1", abi::DROPPED_DATA), format!("{}1", abi::DROPPED_ELEMENT)];
        names.map(|name| {
            let global = guest.instance.get_global(&mut guest.store, &name).unwrap();
            global.get(&mut guest.store).unwrap_i32()
        })
    };
    let mut guest = Guest::new(KEEPER, Grant::default());
    assert_eq!(flags(&mut guest), [0, 0]);
    assert!(matches!(guest.call("copy", &[]), End::Returned(_)));
    guest.call("step", &[Val::I64(1)]);
    assert_eq!(flags(&mut guest), [0, 0]);
    guest.call("step", &[Val::I64(0)]);
    assert_eq!(flags(&mut guest), [1, 1]);
    let mut other = Guest::new(KEEPER, Grant::default());
    other.call(&format!("{}1", abi::DROP_DATA), &[]);
    assert_eq!(flags(&mut other), [1, 0]);
    assert_eq!(other.call("copy", &[]).trap(), wasmtime::Trap::MemoryOutOfBounds);
    let counts = [abi::DATA, abi::ELEMENTS].map(|name| {
        let global = other.instance.get_global(&mut other.store, name).unwrap();
        global.get(&mut other.store).unwrap_i32()
    });
    assert_eq!(counts, [3, 2]);
    for name in ["tallymill:dropped-data:0", "tallymill:dropped-data:2"] {
        assert!(other.instance.get_global(&mut other.store, name).is_none(), "{name}");
    }
}

#[test]
fn whoever_is_no_module_in_steps_gets_nothing_of_it_and_both_pay_the_same() {
    let ours = |text: &str| {
        let metered = metered(text);
        let module = wasmtime::Module::new(&crate::host::ENGINE, &metered.bytes).unwrap();
        let names = module.exports().filter(|export| export.name().starts_with(abi::PREFIX));
        (names.count(), metered.info.steps.are_whole())
    };
    let command = ours(r#"(module (memory 1) (func (export "_start")))"#);
    let no_init = KEEPER.replace("\"init\"", "\"innit\"");
    let other_step = KEEPER.replace("(local.get 0)) (then", "(i64.const 1)) (then");
    let other_step = other_step.replace("(param i64) (result i32)\n", "(result i32)\n");
    for text in [&no_init, &other_step] {
        assert_eq!(ours(text), (command.0, false));
    }
    assert_eq!(ours(KEEPER), (command.0 + 2 * 6 + 2 * 2 + 3, true));
    let fuel = |text: &str| {
        let mut guest = Guest::new(text, Grant::default());
        guest.call("step", &[Val::I64(0)]);
        guest.flushed()
    };
    assert_eq!(fuel(KEEPER), fuel(&no_init));
}

#[test]
fn too_much_to_keep_is_refused_by_name_and_only_of_modules_in_steps() {
    let module = |globals: usize, segments: usize, init: &str| {
        let globals = "(global (mut i32) (i32.const 0))".repeat(globals);
        let data = "(data \"x\")".repeat(segments);
        let drops: String = (0..segments).map(|index| format!("(data.drop {index})")).collect();
        format!(
            "(module {globals} {data} (func {drops}) (func (export \"{init}\"))
                (func (export \"step\") (param i64) (result i32) (i32.const 1)))"
        )
    };
    metered(&module(1_024, 1_024, "init"));
    metered(&module(1_025, 1_025, "other"));
    for (text, limit) in [
        (module(1_025, 0, "init"), Limit::StepGlobals),
        (module(0, 1_025, "init"), Limit::StepDrops),
    ] {
        let error = refused(&text);
        assert!(
            matches!(error, MeterError::Screen { limit: found, value: 1_025, max: 1_024, .. } if found == limit),
            "{error}"
        );
    }
}

#[test]
fn an_initialize_of_another_type_is_refused_where_it_would_be_called() {
    let odd = "(func (export \"_initialize\") (param i32)) (func (export \"init\"))";
    let text = KEEPER.replace("(func (export \"init\"))", odd);
    assert!(matches!(refused(&text), MeterError::InitializeSignature { .. }));
    metered(r#"(module (func (export "_initialize") (param i32)) (func (export "_start")))"#);
    let right =
        metered(&text.replace("(export \"_initialize\") (param i32)", "(export \"_initialize\")"));
    assert!(right.info.steps.initialize);
}
