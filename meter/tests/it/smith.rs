//! Generated modules whose NaNs nobody has made canonical, with traps and exhaustion: random bits in every
//! computed NaN, and loops paid round by round, must not be told from the metered module.

use crate::differential::generate;
use crate::host::polled;
use crate::host::{ENGINE, End, Grant, Guest, Notes, profile};
use tallymill_meter::abi::{self, PREFIX};
use tallymill_meter::{MeterError, Metered, meter, meter_plain_loops, meter_scrambled};
use wasmtime::{Module, StoreLimitsBuilder, Val};

/// Modules compared.
const MODULES: u32 = 2_000;
/// Seeds tried for them, each another one than the test of counts takes.
const SEEDS: std::ops::Range<u64> = 1 << 32..(1 << 32) + 10_000;
const THREADS: u64 = 2;
const CALLS: usize = 4;
/// Enough for what ends, little enough for what does not.
const FUEL: u64 = 200_000;

#[test]
fn generated_modules_do_not_show_the_bits_of_nans() {
    let tallies: Vec<_> = std::thread::scope(|scope| {
        let thread = || std::thread::Builder::new().stack_size(8 << 20);
        let threads: Vec<_> = (0..THREADS)
            .map(|t| thread().spawn_scoped(scope, move || compare_some(t)).unwrap())
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let sum = |figure: fn(&Tally) -> u32| tallies.iter().map(figure).sum::<u32>();
    assert_eq!(sum(|tally| tally.modules), MODULES, "{tallies:?}");
    assert!(sum(|tally| tally.stopped) > 200, "{tallies:?}");
    assert!(sum(|tally| tally.floats) > 250, "{tallies:?}");
}

#[derive(Debug, Default)]
struct Tally {
    modules: u32,
    /// Runs that trapped or were exhausted.
    stopped: u32,
    /// Modules with several operators that may compute a NaN.
    floats: u32,
}

fn compare_some(thread: u64) -> Tally {
    let mut tally = Tally::default();
    let mine = SEEDS.filter(|seed| seed % THREADS == thread);
    for seed in mine {
        if u64::from(tally.modules) == u64::from(MODULES) / THREADS {
            break;
        }
        compare(seed, &mut tally);
    }
    tally
}

fn compare(seed: u64, tally: &mut Tally) {
    let Some(original) = generate(seed, false) else { return };
    let metered = match meter(&original, &profile()) {
        Ok(metered) => metered,
        Err(MeterError::Output { message }) => panic!("seed {seed}: {message}"),
        Err(_) => return,
    };
    let scrambled = meter_scrambled(&original, &profile(), seed).unwrap();
    let plain = meter_plain_loops(&original, &profile()).unwrap();
    let polled = meter(&original, &polled()).unwrap();
    let mut others = vec![&scrambled, &polled];
    if plain.bytes != metered.bytes {
        others.push(&plain);
    }
    let modules = [&metered].into_iter().chain(others).map(compile).collect::<Vec<_>>();
    let whole = seen(&modules[0], FUEL);
    // Somewhere in the middle of what it needs, wherever that is.
    let some = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    let short = some % whole.as_ref().map_or(1, |seen| seen.fuel.max(1));
    let cut = seen(&modules[0], short);
    for module in &modules[1..] {
        assert_eq!(seen(module, FUEL), whole, "seed {seed}");
        assert_eq!(seen(module, short), cut, "seed {seed}, limit {short}");
    }
    tally.modules += 1;
    tally.stopped += u32::from(whole.is_some_and(|seen| seen.stopped));
    tally.floats += u32::from(scrambled.bytes.len() > metered.bytes.len() + SCRAMBLERS);
}

/// Bytes that every scrambled module has more than its metered one, at most.
const SCRAMBLERS: usize = 400;

fn compile(metered: &Metered) -> Module {
    Module::new(&ENGINE, &metered.bytes).unwrap()
}

/// What can be seen of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    ends: Vec<String>,
    stopped: bool,
    fuel: u64,
    state: String,
    memory: Option<blake3::Hash>,
}

/// Calls some exports until one stops; `None` if the module cannot be instantiated.
fn seen(module: &Module, limit: u64) -> Option<Seen> {
    let limits = StoreLimitsBuilder::new().memory_size(64 << 16).table_elements(20_000).build();
    let notes = Notes { limits, ..Notes::default() };
    let mut guest = Guest::from_module(module, Grant::limit(limit), notes).ok()?;
    let (mut ends, mut stopped) = (Vec::new(), false);
    for name in names(module, |ty| ty.func().is_some()).into_iter().take(CALLS) {
        let func = guest.instance.get_func(&mut guest.store, &name).unwrap();
        let args: Option<Vec<_>> =
            func.ty(&guest.store).params().map(|ty| ty.default_value()).collect();
        guest.set(abi::STACK, Val::I32(abi::STACK_BUDGET));
        let end = guest.call(&name, &args?);
        // References are numbered by the store.
        ends.push(format!("{end:?}").split("FuncRef").next().unwrap_or_default().to_owned());
        if matches!(end, End::Stopped(..)) {
            stopped = true;
            break;
        }
    }
    let fuel = if stopped { guest.owed() } else { guest.flushed() };
    let exhausted = matches!(fuel.cmp(&limit), std::cmp::Ordering::Equal);
    let state = globals(module, &mut guest);
    let memory = (!exhausted).then(|| memory(module, &mut guest));
    Some(Seen { ends, stopped, fuel, state: if exhausted { String::new() } else { state }, memory })
}

fn names(module: &Module, kind: fn(&wasmtime::ExternType) -> bool) -> Vec<String> {
    let own = |name: &str| name.starts_with(PREFIX) && name != abi::START;
    let exports = module.exports().filter(|e| kind(&e.ty()) && !own(e.name()));
    exports.map(|export| export.name().to_owned()).collect()
}

fn globals(module: &Module, guest: &mut Guest) -> String {
    let mut text = String::new();
    for name in names(module, |ty| ty.global().is_some()) {
        let global = guest.instance.get_global(&mut guest.store, &name).unwrap();
        let value = global.get(&mut guest.store);
        if !matches!(value, Val::FuncRef(_)) {
            text += &format!("{value:?};");
        }
    }
    text
}

fn memory(module: &Module, guest: &mut Guest) -> blake3::Hash {
    let name = names(module, |ty| ty.memory().is_some()).into_iter().next();
    let memory = name.and_then(|name| guest.instance.get_memory(&mut guest.store, &name));
    blake3::hash(memory.map_or(&[], |memory| memory.data(&guest.store)))
}
