//! What a child gives up before it looks at anything that a guest's author wrote.
//!
//! Five layers, each of which holds if the others fail: only the descriptors it was given; no privileges and no outliving of its
//! parent; limits on processor time, memory and descriptors; no files and no network (Landlock); and only the system calls that
//! running or compiling needs (seccomp). All of them work without privileges. What a kernel lacks is a [`Layer`] that is missing;
//! whether a child may go on without it is decided by its parent's [`Confinement`].

pub(crate) mod escape;
mod filter;

use std::fmt;
use std::fs;
use std::io;
use std::str::FromStr;

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, LandlockStatus, Ruleset, RulesetAttr as _, RulesetError,
    RulesetStatus, Scope,
};
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, Signal, getrlimit, set_dumpable_behavior,
    set_parent_process_death_signal, setrlimit,
};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities, set_no_new_privs};

pub(crate) use filter::Stage;

/// Most descriptors of a child: its streams, the compiled module and duplicates of them.
const DESCRIPTORS: u64 = 32;
/// Address space of a child that runs, besides its program: the reservation for a guest of 4 GiB with guard regions and tables,
/// the compiled module, and the largest inputs, files and outputs of [`MAX_BYTES`](crate::MAX_BYTES) with copies of them.
const RUN_ADDRESSES: u64 = 24 << 30;
/// Writable memory of a child that runs, before its parent has granted more for a job: enough to load any module.
pub(crate) const RUN_MEMORY: u64 = 320 << 20;
/// Writable memory of a child that runs, whatever is granted.
pub(crate) const MOST_RUN_MEMORY: u64 = 20 << 30;

/// The newest Landlock rules that were tried; an older kernel gives the part of them that it knows.
const RULES: ABI = ABI::V7;

/// What a child does when its kernel lacks a layer of protection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Confinement {
    /// It ends without having looked at the guest.
    #[default]
    Required,
    /// It goes on with the layers that there are: for modules that are trusted like any program.
    Available,
}

impl Confinement {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Required => "required",
            Self::Available => "available",
        }
    }
}

impl FromStr for Confinement {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        [Self::Required, Self::Available].into_iter().find(|known| known.word() == word).ok_or(())
    }
}

/// How much of a layer this kernel gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strength {
    /// All of it.
    Full,
    /// A part; other layers cover the rest.
    Partial,
    /// Nothing.
    Missing,
}

impl Strength {
    /// Every strength.
    pub const ALL: [Self; 3] = [Self::Full, Self::Partial, Self::Missing];

    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Partial => "partial",
            Self::Missing => "missing",
        }
    }
}

impl fmt::Display for Strength {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// One layer of the protection around a child.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// What it is called.
    pub name: String,
    /// How much of it there is.
    pub strength: Strength,
    /// What there is, or why not.
    pub detail: String,
}

/// Layers that are missing, in words; empty when a child may look at a stranger's module.
pub(crate) fn gaps(layers: &[Layer]) -> String {
    let missing = layers.iter().filter(|layer| layer.strength == Strength::Missing);
    let words: Vec<_> =
        missing.map(|layer| format!("no {} ({})", layer.name, layer.detail)).collect();
    words.join("; ")
}

/// What a child is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Running the tasks of one payer, for so long.
    Run { cpu_seconds: u64 },
    /// Compiling one module within these amounts.
    Compile { cpu_seconds: u64, memory: u64 },
}

/// Gives up everything that a child of this role does not need. It must be the first thing that happens in the process: only the
/// thread that calls it is confined, and those it starts. In between, `first` does what takes files of the system and looks at
/// nothing of a module's.
pub(crate) fn confine<T>(role: Role, first: impl FnOnce() -> T) -> (Vec<Layer>, T) {
    let layer = |name: &str, given: io::Result<(Strength, String)>| {
        let (strength, detail) =
            given.unwrap_or_else(|error| (Strength::Missing, error.to_string()));
        Layer { name: name.to_owned(), strength, detail }
    };
    let mut layers = vec![
        layer("closed descriptors", close_others()),
        layer("dropped privileges", drop_privileges()),
    ];
    let made = first();
    layers.extend([
        layer("secret memory", hide()),
        layer("resource limits", limit_resources(role)),
        layer("Landlock", restrict_files()),
        layer("seccomp", filter::install(Stage::first(role))),
    ]);
    (layers, made)
}

/// Narrows what a child that runs may still ask for, now that its module is loaded and its threads are there.
///
/// # Errors
/// When the kernel does not take the filter.
pub(crate) fn tighten() -> io::Result<()> {
    filter::install(Stage::Running).map(drop)
}

fn full(detail: impl Into<String>) -> io::Result<(Strength, String)> {
    Ok((Strength::Full, detail.into()))
}

/// Whoever started the parent may have left descriptors open that nobody here knows of.
#[expect(unsafe_code, reason = "no safe call closes descriptors by number")]
fn close_others() -> io::Result<(Strength, String)> {
    // SAFETY: nothing in this process owns a descriptor above 2 yet: this is the first thing that `main` does.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0) };
    if closed == 0 { full("only 0, 1 and 2 are open") } else { Err(io::Error::last_os_error()) }
}

fn drop_privileges() -> io::Result<(Strength, String)> {
    set_no_new_privs(true)?;
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })?;
    // Last, because a change of credentials would undo it.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    full("no capabilities, no new privileges, ends with its parent")
}

/// Others of the same user can no longer read this process, nor can it read itself through `/proc`.
fn hide() -> io::Result<(Strength, String)> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    full("not dumpable, not traced by others of the same user")
}

fn limit_resources(role: Role) -> io::Result<(Strength, String)> {
    let mapped = mapped()?;
    limit(Resource::Core, 0)?;
    limit(Resource::Fsize, 0)?;
    limit(Resource::Nofile, DESCRIPTORS)?;
    match role {
        Role::Run { cpu_seconds } => {
            limit(Resource::Cpu, cpu_seconds)?;
            limit(Resource::As, mapped + RUN_ADDRESSES)?;
            let data = Rlimit { current: Some(RUN_MEMORY), maximum: Some(MOST_RUN_MEMORY) };
            setrlimit(Resource::Data, within(Resource::Data, data))?;
        }
        Role::Compile { cpu_seconds, memory } => {
            limit(Resource::Cpu, cpu_seconds)?;
            limit(Resource::As, mapped.saturating_add(memory))?;
        }
    }
    full("processor time, memory, descriptors, no core file, no file growth")
}

/// Address space used so far: the program and what it is linked to.
fn mapped() -> io::Result<u64> {
    let statm = fs::read_to_string("/proc/self/statm")?;
    let pages = statm.split_whitespace().next().and_then(|pages| pages.parse::<u64>().ok());
    let pages = pages.ok_or_else(|| io::Error::other("/proc/self/statm is not readable"))?;
    Ok(pages.saturating_mul(rustix::param::page_size() as u64))
}

fn limit(resource: Resource, value: u64) -> io::Result<()> {
    let wanted = Rlimit { current: Some(value), maximum: Some(value) };
    Ok(setrlimit(resource, within(resource, wanted))?)
}

/// The limits wanted, or those in force where they are tighter: nobody may raise a limit.
fn within(resource: Resource, wanted: Rlimit) -> Rlimit {
    let most = getrlimit(resource).maximum.unwrap_or(u64::MAX);
    let lower = |value: Option<u64>| value.map(|value| value.min(most));
    Rlimit { current: lower(wanted.current), maximum: lower(wanted.maximum) }
}

/// No file, no directory, no port, no signal to others: rules that allow nothing.
fn restrict_files() -> io::Result<(Strength, String)> {
    let restrict = || -> Result<_, RulesetError> {
        Ruleset::default()
            .handle_access(AccessFs::from_all(RULES))?
            .handle_access(AccessNet::from_all(RULES))?
            .scope(Scope::from_all(RULES))?
            .create()?
            .restrict_self()
    };
    let status = restrict().map_err(io::Error::other)?;
    let abi = match status.landlock {
        LandlockStatus::Available { effective_abi, kernel_abi } => {
            format!("ABI {}", kernel_abi.unwrap_or(effective_abi as i32))
        }
        LandlockStatus::NotEnabled => "not enabled in this kernel".to_owned(),
        _ => "not part of this kernel".to_owned(),
    };
    Ok(match status.ruleset {
        RulesetStatus::FullyEnforced => (Strength::Full, abi),
        RulesetStatus::PartiallyEnforced => {
            (Strength::Partial, format!("{abi}: network and signals are left to seccomp"))
        }
        RulesetStatus::NotEnforced => (Strength::Missing, abi),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_missing_layers_are_gaps() {
        let layer = |name: &str, strength| Layer {
            name: name.to_owned(),
            strength,
            detail: "why".to_owned(),
        };
        let all = [
            layer("a", Strength::Full),
            layer("b", Strength::Partial),
            layer("c", Strength::Missing),
            layer("d", Strength::Missing),
        ];
        assert_eq!(gaps(&all[..2]), "");
        assert_eq!(gaps(&all), "no c (why); no d (why)");
    }

    #[test]
    fn limits_are_never_raised() {
        let most = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
        let wanted = Rlimit { current: Some(u64::MAX), maximum: Some(u64::MAX) };
        assert_eq!(within(Resource::Nofile, wanted).maximum, Some(most));
    }
}
