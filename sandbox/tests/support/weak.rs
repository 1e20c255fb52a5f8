//! A child whose kernel seems to lack a layer: the calls for it do not exist. Which layer is in the name it is started under.

use std::process::ExitCode;

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};

fn main() -> ExitCode {
    let name = std::env::args().next().unwrap_or_default();
    let calls = if name.ends_with("no-seccomp") {
        vec![libc::SYS_seccomp]
    } else {
        vec![libc::SYS_landlock_create_ruleset, libc::SYS_landlock_restrict_self]
    };
    let rules = calls.into_iter().map(|call| (call, Vec::new())).collect();
    let enosys = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    let applied = std::env::consts::ARCH
        .try_into()
        .and_then(|arch| SeccompFilter::new(rules, SeccompAction::Allow, enosys, arch))
        .and_then(TryInto::try_into)
        .map_err(seccompiler::Error::from)
        .and_then(|program: BpfProgram| apply_filter(&program));
    if applied.is_err() {
        return ExitCode::FAILURE;
    }
    tallymill_sandbox::child_main(std::env::args_os().skip(1)).unwrap_or(ExitCode::FAILURE)
}
