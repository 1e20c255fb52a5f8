//! Bulk operators: their ranges, their price, their chunks, against the engine's own.

use crate::host::{self, End, Grant, Guest, metered};
use proptest::prelude::*;
use std::sync::LazyLock;
use tallymill_meter::abi::{self, Cause};
use tallymill_meter::{Metered, SLICE};
use wasmtime::{Config, Engine, Module, Store, Trap, Val};

/// Every operator with its three operands as parameters; the memory holds a pattern.
const GUEST: &str = r#"(module
    (memory (export "m") 4)
    (table (export "t") 30000 funcref)
    (data $d "0123456789abcdefghijklmnopqrstuvwxyz")
    (elem $e func $f $g $h $f $g $h $f)
    (func $f) (func $g (result i32) (i32.const 1)) (func $h (param i32))
    (func (export "pattern") (local i32)
        (loop $l
            (i32.store8 (local.get 0) (i32.rem_u (local.get 0) (i32.const 251)))
            (br_if $l (i32.ne (i32.const 262144)
                (local.tee 0 (i32.add (local.get 0) (i32.const 1)))))))
    (func (export "fill") (param i32 i32 i32)
        (memory.fill (local.get 0) (local.get 1) (local.get 2)))
    (func (export "copy") (param i32 i32 i32)
        (memory.copy (local.get 0) (local.get 1) (local.get 2)))
    (func (export "init") (param i32 i32 i32)
        (memory.init $d (local.get 0) (local.get 1) (local.get 2)))
    (func (export "small") (param i32 i32 i32)
        (memory.copy (local.get 0) (local.get 1) (i32.const 1024))
        (memory.init $d (local.get 0) (i32.const 4) (i32.const 20))
        (memory.fill (local.get 1) (local.get 2) (i32.const 1)))
    (func (export "drop") (param i32 i32 i32) (data.drop $d) (elem.drop $e))
    (func (export "tfill") (param i32 i32 i32)
        (table.fill (local.get 0) (table.get (i32.and (local.get 1) (i32.const 7)))
            (local.get 2)))
    (func (export "tcopy") (param i32 i32 i32)
        (table.copy (local.get 0) (local.get 1) (local.get 2)))
    (func (export "tinit") (param i32 i32 i32)
        (table.init $e (local.get 0) (local.get 1) (local.get 2))))"#;

const NAMES: [&str; 8] = ["fill", "copy", "init", "small", "drop", "tfill", "tcopy", "tinit"];

static METERED: LazyLock<Metered> = LazyLock::new(|| metered(GUEST));
static MODULE: LazyLock<Module> =
    LazyLock::new(|| Module::new(&host::ENGINE, &METERED.bytes).unwrap());
static PLAIN: LazyLock<Module> = LazyLock::new(|| {
    let mut config = Config::new();
    config.consume_fuel(true);
    Module::new(&Engine::new(&config).unwrap(), GUEST_BYTES.as_slice()).unwrap()
});
static GUEST_BYTES: LazyLock<Vec<u8>> = LazyLock::new(|| wat::parse_str(GUEST).unwrap());

fn guest(limit: u64) -> Guest {
    Guest::from_module(&MODULE, Grant::limit(limit), host::Notes::default()).unwrap()
}

fn operands((to, from, length): (u32, u32, u32)) -> [Val; 3] {
    [to, from, length].map(|operand| Val::I32(operand.cast_signed()))
}

/// A position near one that matters: the ends of the memory, the segments, the chunks.
fn position() -> impl Strategy<Value = u32> {
    let near = prop::sample::select(vec![
        0,
        7,
        36,
        8_192,
        30_000,
        65_536,
        131_072,
        262_144,
        1 << 31,
        u32::MAX,
    ]);
    (near, -3_i32..=3).prop_map(|(near, off): (u32, i32)| near.saturating_add_signed(off))
}

fn length() -> impl Strategy<Value = u32> {
    prop_oneof![2 => 0_u32..40, 2 => 60_000_u32..200_000, 2 => 8_000_u32..20_000, 1 => position()]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_operator_does_what_the_engine_does(
        steps in prop::collection::vec((0..NAMES.len(), (position(), position(), length())), 1..5)
    ) {
        const FUEL: u64 = 1 << 40;
        let mut plain = Store::new(PLAIN.engine(), ());
        plain.set_fuel(FUEL).unwrap();
        let instance = wasmtime::Instance::new(&mut plain, &PLAIN, &[]).unwrap();
        let pattern = instance.get_func(&mut plain, "pattern").unwrap();
        pattern.call(&mut plain, &[], &mut []).unwrap();
        let start = plain.get_fuel().unwrap();
        let mut guest = guest(abi::MAX_LIMIT);
        guest.call("pattern", &[]);
        let used = guest.flushed();
        for (name, args) in steps {
            let func = instance.get_func(&mut plain, NAMES[name]).unwrap();
            let expected = func.call(&mut plain, &operands(args), &mut []);
            let found = guest.call(NAMES[name], &operands(args));
            match (&expected, &found) {
                (Ok(()), End::Returned(_)) => prop_assert_eq!(
                    start - plain.get_fuel().unwrap(), guest.flushed() - used, "{} {:?}", NAMES[name], args
                ),
                (Err(error), End::Stopped(Cause::None, trap)) => {
                    prop_assert_eq!(error.downcast_ref::<Trap>(), trap.as_ref());
                }
                _ => prop_assert!(false, "{}{args:?}: {expected:?} {found:?}", NAMES[name]),
            }
            if expected.is_err() {
                break;
            }
        }
        let memory = instance.get_memory(&mut plain, "m").unwrap();
        prop_assert!(memory.data(&plain) == &*guest.memory());
        prop_assert_eq!(elements(&instance, &mut plain), {
            let instance = guest.instance;
            elements(&instance, &mut guest.store)
        });
    }
}

/// The table's elements by the shape of their types: null, none, a result, a parameter.
fn elements<T>(instance: &wasmtime::Instance, store: &mut Store<T>) -> Vec<u8> {
    let table = instance.get_table(&mut *store, "t").unwrap();
    (0..30_000)
        .map(|index| match table.get(&mut *store, index).unwrap() {
            wasmtime::Ref::Func(Some(func)) => {
                let ty = func.ty(&*store);
                1 + u8::from(ty.results().len() == 1) + 2 * u8::from(ty.params().len() == 1)
            }
            _ => 0,
        })
        .collect()
}

#[test]
fn overlapping_copies_longer_than_a_chunk_keep_their_bytes() {
    for (to, from) in [(1, 0), (0, 1), (70_000, 0), (0, 70_000)] {
        let mut guest = guest(abi::MAX_LIMIT);
        guest.call("pattern", &[]);
        let mut expected = guest.memory().to_vec();
        expected.copy_within(from..from + 180_000, to);
        let position = |at: usize| u32::try_from(at).unwrap();
        guest.call("copy", &operands((position(to), position(from), 180_000)));
        assert!(expected == guest.memory(), "from {from} to {to}");
    }
}

#[test]
fn a_length_of_four_billion_traps_before_a_byte_and_before_a_unit() {
    for name in ["fill", "copy", "init"] {
        let mut guest = guest(1_000);
        let end = guest.call(name, &operands((0, 0, u32::MAX)));
        assert_eq!(end.trap(), Trap::MemoryOutOfBounds, "{name}");
        // Range before price: the limit was too small for the price, and still it is a trap.
        assert_eq!(guest.owed(), 1_000);
        assert!(guest.memory().iter().all(|byte| *byte == 0));
    }
    for name in ["tcopy", "tinit"] {
        let end = guest(1_000).call(name, &operands((0, 0, u32::MAX)));
        assert_eq!(end.trap(), Trap::TableOutOfBounds, "{name}");
    }
}

#[test]
fn overlapping_copies_across_two_gibibytes_keep_their_bytes() {
    const HALF: u32 = 1 << 31;
    let wat = r#"(module (memory (export "m") 32800)
        (func (export "copy") (param i32 i32 i32)
            (memory.copy (local.get 0) (local.get 1) (local.get 2))))"#;
    let mut guest = Guest::new(wat, Grant { pages: -1, ..Grant::default() });
    let low = HALF as usize - 150_000;
    for (at, byte) in guest.memory()[low..low + 200_000].iter_mut().enumerate() {
        *byte = u8::try_from(at % 251).unwrap();
    }
    let mut expected = guest.memory()[low..low + 400_000].to_vec();
    expected.copy_within(..200_000, 160_000);
    guest.call("copy", &operands((HALF + 10_000, HALF - 150_000, 200_000)));
    assert!(guest.memory()[low..low + 400_000] == expected);
    expected.copy_within(160_000..360_000, 0);
    guest.call("copy", &operands((HALF - 150_000, HALF + 10_000, 200_000)));
    assert!(guest.memory()[low..low + 400_000] == expected);
}

#[test]
fn a_segment_that_is_too_short_traps_before_its_price_is_asked() {
    let end = guest(50).call("init", &operands((0, 1, 100)));
    assert_eq!(end.trap(), Trap::MemoryOutOfBounds);
    let end = guest(50).call("tinit", &operands((0, 1, 100)));
    assert_eq!(end.trap(), Trap::TableOutOfBounds);
}

#[test]
fn a_length_beyond_the_fuel_moves_nothing() {
    let mut guest = guest(200_000);
    let end = guest.call("fill", &operands((0, 1, 200_000)));
    assert_eq!(end.cause(), Cause::Exhausted);
    assert_eq!(guest.owed(), 200_000);
    assert!(guest.memory().iter().all(|byte| *byte == 0));
}

#[test]
fn a_dropped_segment_is_empty() {
    let mut guest = guest(abi::MAX_LIMIT);
    guest.call("drop", &operands((0, 0, 0)));
    assert!(matches!(guest.call("init", &operands((0, 0, 0))), End::Returned(_)));
    let end = guest.call("init", &operands((0, 0, 2_000)));
    assert_eq!(end.trap(), Trap::MemoryOutOfBounds);
}

#[test]
fn long_fills_look_at_the_hook_between_chunks() {
    let wat = r#"(module (memory (export "m") 256)
        (func (export "f") (memory.fill (i32.const 0) (i32.const 1) (i32.const 16777216))))"#;
    let hook = host::Hook::FailsAt(2 * SLICE.cast_signed());
    let grant = Grant { hook, pages: 256, ..Grant::default() };
    let mut guest = Guest::new(wat, grant);
    assert_eq!(guest.run("f").cause(), Cause::Hook);
    let filled = guest.memory().iter().filter(|byte| **byte == 1).count() as u64;
    assert!(filled < 2 * SLICE && filled > 2 * SLICE - 2 * u64::from(abi::CHUNK_BYTES));
    let mut guest = Guest::new(wat, Grant { pages: 256, ..Grant::default() });
    assert!(matches!(guest.run("f"), End::Returned(_)));
    assert_eq!(guest.flushed(), 1 + 4 + 16_777_216);
    assert!(guest.memory().iter().all(|byte| *byte == 1));
}
