//! The system calls of a child. Whatever is not listed kills the process.
//!
//! A few calls are answered `ENOSYS` instead, because the C library or the standard library try them and do well without: opening
//! and looking up paths, and `clone3`, whose flags cannot be seen from here, so that `clone` is used, whose flags can.

use std::collections::BTreeMap;
use std::io;

use seccompiler::SeccompCmpArgLen::Dword;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, apply_filter_all_threads,
};

use super::{Role, Strength};

/// What a child is about to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Compile a module: no code of it is run, no thread started.
    Compiling,
    /// Load a compiled module and start threads; a narrower filter follows.
    Loading,
    /// Run guests: no code is made executable, no thread started any more.
    Running,
}

impl Stage {
    pub(super) const fn first(role: Role) -> Self {
        match role {
            Role::Run { .. } => Self::Loading,
            Role::Compile { .. } => Self::Compiling,
        }
    }
}

/// Memory, time, locks, signals of its own, and the stream to its parent.
const ALWAYS: &[i64] = &[
    libc::SYS_brk,
    libc::SYS_clock_gettime,
    libc::SYS_close,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_futex,
    libc::SYS_getpid,
    libc::SYS_getrandom,
    libc::SYS_gettid,
    libc::SYS_madvise,
    libc::SYS_membarrier,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_read,
    libc::SYS_recvfrom,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_sendto,
    libc::SYS_set_robust_list,
    libc::SYS_sigaltstack,
    libc::SYS_write,
    libc::SYS_writev,
];

/// What mapping the file of a compiled module takes, and adding the filter that forbids it again.
const LOADING: &[i64] = &[
    libc::SYS_fstat,
    libc::SYS_lseek,
    libc::SYS_newfstatat,
    libc::SYS_pread64,
    libc::SYS_seccomp,
    libc::SYS_statx,
];

/// Tried in passing and not missed.
const NOT_OFFERED: &[i64] = &[
    #[cfg(target_arch = "x86_64")]
    libc::SYS_access,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_open,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_readlink,
    libc::SYS_clone3,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_readlinkat,
];

const EXEC: u64 = libc::PROT_EXEC as u64;
const WRITE: u64 = libc::PROT_WRITE as u64;
const SHARED_OR_PRIVATE: u64 = (libc::MAP_SHARED | libc::MAP_PRIVATE) as u64;

/// Asks which pages of a range were written: how the engine finds out what it must clear after a task.
const PAGEMAP_SCAN: u64 = 0xc060_6610;

/// Puts the filter of `stage` on every thread of this process, on top of earlier ones.
pub(super) fn install(stage: Stage) -> io::Result<(Strength, String)> {
    let rules = allowed(stage)?;
    let detail = format!("{} calls, others kill", rules.len());
    if stage != Stage::Running {
        // Before the other filter, under which a compiler could not add it; it stays in force.
        let denied = NOT_OFFERED.iter().map(|call| (*call, Vec::new())).collect();
        let enosys = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
        apply(denied, SeccompAction::Allow, enosys)?;
    }
    apply(rules, SeccompAction::KillProcess, SeccompAction::Allow)?;
    Ok((Strength::Full, detail))
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

fn apply(rules: Rules, otherwise: SeccompAction, listed: SeccompAction) -> io::Result<()> {
    let arch = std::env::consts::ARCH.try_into().map_err(io::Error::other)?;
    let filter = SeccompFilter::new(rules, otherwise, listed, arch).map_err(io::Error::other)?;
    let program: BpfProgram = filter.try_into().map_err(io::Error::other::<BackendError>)?;
    apply_filter_all_threads(&program).map_err(io::Error::other)
}

fn allowed(stage: Stage) -> io::Result<Rules> {
    let own = u64::from(std::process::id());
    let mut rules: Rules =
        ALWAYS.iter().chain(NOT_OFFERED).map(|call| (*call, Vec::new())).collect();
    rules.insert(libc::SYS_ioctl, any(&[&[(1, SeccompCmpOp::Eq, PAGEMAP_SCAN)]])?);
    rules.insert(libc::SYS_tgkill, any(&[&[(0, SeccompCmpOp::Eq, own)]])?);
    let duplicate = [libc::F_DUPFD_CLOEXEC, libc::F_GETFD, libc::F_GETFL];
    rules.insert(libc::SYS_fcntl, one_of(1, &duplicate)?);
    let private = (3, SeccompCmpOp::MaskedEq(SHARED_OR_PRIVATE), libc::MAP_PRIVATE as u64);
    rules.insert(libc::SYS_mmap, any(&[&[private, (2, SeccompCmpOp::MaskedEq(EXEC), 0)]])?);
    let protect = |bits: u64| (2, SeccompCmpOp::MaskedEq(EXEC | WRITE), bits);
    let data: [&[Condition]; 2] = [&[protect(0)], &[protect(WRITE)]];
    let code: [&[Condition]; 3] = [&[protect(0)], &[protect(WRITE)], &[protect(EXEC)]];
    if stage == Stage::Loading {
        rules.extend(LOADING.iter().map(|call| (*call, Vec::new())));
        rules.insert(libc::SYS_mprotect, any(&code)?);
        let names = [libc::PR_SET_NAME, libc::PR_SET_NO_NEW_PRIVS];
        rules.insert(libc::SYS_prctl, one_of(0, &names)?);
        let thread = libc::CLONE_THREAD as u64;
        let thread = (0, SeccompCmpOp::MaskedEq(thread), thread);
        rules.insert(libc::SYS_clone, any(&[&[thread]])?);
    } else {
        rules.insert(libc::SYS_mprotect, any(&data)?);
        rules.insert(libc::SYS_prctl, one_of(0, &[libc::PR_SET_NAME])?);
    }
    Ok(rules)
}

/// An argument's number, how it is compared, and with what.
type Condition = (u8, SeccompCmpOp, u64);

/// Rules of which one must hold; of each all conditions must.
fn any(rules: &[&[Condition]]) -> io::Result<Vec<SeccompRule>> {
    let condition = |(argument, comparison, value): &Condition| {
        SeccompCondition::new(*argument, Dword, comparison.clone(), *value)
    };
    let rule = |conditions: &&[Condition]| {
        let conditions: Result<Vec<_>, _> = conditions.iter().map(condition).collect();
        SeccompRule::new(conditions?)
    };
    rules.iter().map(rule).collect::<Result<_, BackendError>>().map_err(io::Error::other)
}

fn one_of(argument: u8, values: &[i32]) -> io::Result<Vec<SeccompRule>> {
    let conditions = values.iter().map(|value| {
        let condition: Condition = (argument, SeccompCmpOp::Eq, u64::from(value.unsigned_abs()));
        any(&[&[condition]])
    });
    Ok(conditions.collect::<io::Result<Vec<_>>>()?.concat())
}
