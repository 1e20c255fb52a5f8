//! Arguments, environment, clocks, randomness, exit.

use super::errno::Errno;
use super::guest::Guest;
use super::memory::Memory;
use super::{Answer, Ending, Halt, MAX_TRANSFER};

/// `argv[0]` of every guest.
const PROGRAM: &str = "task";
/// What the real-time clock shows before it is first read: 2020-01-01T00:00:00Z, ns.
const EPOCH: u64 = 1_577_836_800_000_000_000;
/// How far every reading moves all clocks, ns; also their resolution.
const TICK: u64 = 1_000_000;

fn arguments(guest: &Guest) -> impl Iterator<Item = [&str; 1]> {
    std::iter::once([PROGRAM]).chain(guest.job.argv.iter().map(|text| [text.as_str()]))
}

fn variables(guest: &Guest) -> impl Iterator<Item = [&str; 3]> {
    guest.job.environment.iter().map(|(name, value)| [name.as_str(), "=", value.as_str()])
}

fn length(parts: &[&str]) -> u32 {
    let bytes: usize = parts.iter().map(|part| part.len()).sum();
    u32::try_from(bytes).unwrap_or(u32::MAX).saturating_add(1)
}

fn put_sizes<'g, const N: usize>(
    texts: impl Iterator<Item = [&'g str; N]>,
    memory: &mut Memory<'_>,
    count: u32,
    size: u32,
) -> Answer {
    let (texts, bytes) =
        texts.fold((0u32, 0u32), |(n, bytes), parts| (n + 1, bytes.saturating_add(length(&parts))));
    memory.put_u32(count, texts)?;
    Ok(memory.put_u32(size, bytes)?)
}

fn put_texts<'g, const N: usize>(
    texts: impl Iterator<Item = [&'g str; N]>,
    memory: &mut Memory<'_>,
    mut pointers: u32,
    mut at: u32,
) -> Answer {
    for parts in texts {
        memory.put_u32(pointers, at)?;
        pointers = pointers.checked_add(4).ok_or(Errno::Fault)?;
        for part in parts.into_iter().chain(["\0"]) {
            memory.put(at, part.as_bytes())?;
            at = at
                .checked_add(u32::try_from(part.len()).map_err(|_| Errno::Fault)?)
                .ok_or(Errno::Fault)?;
        }
    }
    Ok(())
}

pub(super) fn args_sizes_get(
    guest: &mut Guest,
    memory: &mut Memory<'_>,
    count: u32,
    size: u32,
) -> Answer {
    put_sizes(arguments(guest), memory, count, size)
}

pub(super) fn args_get(
    guest: &mut Guest,
    memory: &mut Memory<'_>,
    pointers: u32,
    bytes: u32,
) -> Answer {
    put_texts(arguments(guest), memory, pointers, bytes)
}

pub(super) fn environ_sizes_get(
    guest: &mut Guest,
    memory: &mut Memory<'_>,
    count: u32,
    size: u32,
) -> Answer {
    put_sizes(variables(guest), memory, count, size)
}

pub(super) fn environ_get(
    guest: &mut Guest,
    memory: &mut Memory<'_>,
    pointers: u32,
    bytes: u32,
) -> Answer {
    put_texts(variables(guest), memory, pointers, bytes)
}

/// Clocks 0 (real time), 1 (monotonic), 2 and 3 (CPU time) all move together.
pub(super) fn clock_time_get(
    guest: &mut Guest,
    memory: &mut Memory<'_>,
    clock: u32,
    _precision: u64,
    result: u32,
) -> Answer {
    let start = match clock {
        0 => EPOCH,
        1..=3 => 0,
        _ => return Err(Errno::Invalid.into()),
    };
    memory.bytes(result, 8)?;
    guest.ticks += 1;
    Ok(memory.put_u64(result, guest.ticks.saturating_mul(TICK).saturating_add(start))?)
}

pub(super) fn clock_res_get(
    _: &mut Guest,
    memory: &mut Memory<'_>,
    clock: u32,
    result: u32,
) -> Answer {
    if clock > 3 {
        return Err(Errno::Invalid.into());
    }
    Ok(memory.put_u64(result, TICK)?)
}

pub(super) fn random_get(
    guest: &mut Guest,
    memory: &mut Memory<'_>,
    at: u32,
    length: u32,
) -> Answer {
    if length > MAX_TRANSFER {
        return Err(Errno::Invalid.into());
    }
    guest.randomness(memory.bytes_mut(at, length)?);
    Ok(())
}

pub(super) fn sched_yield(_: &mut Guest, _: &mut Memory<'_>) -> Answer {
    Ok(())
}

/// Exit codes are bytes, as on Unix: the low eight bits count.
pub(super) fn proc_exit(_: &mut Guest, _: &mut Memory<'_>, code: u32) -> Answer {
    Err(Halt::End(Ending::Exit(code.to_le_bytes()[0])))
}
