//! A child whose kernel seems to have no Landlock: the calls for it do not exist.

use std::process::ExitCode;

use seccompiler::{SeccompAction, SeccompFilter};

fn main() -> ExitCode {
    let calls = [libc::SYS_landlock_create_ruleset, libc::SYS_landlock_restrict_self];
    let rules = calls.into_iter().map(|call| (call, Vec::new())).collect();
    let enosys = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    let applied = std::env::consts::ARCH
        .try_into()
        .and_then(|arch| SeccompFilter::new(rules, SeccompAction::Allow, enosys, arch))
        .and_then(TryInto::try_into)
        .map_err(seccompiler::Error::from)
        .and_then(|program: seccompiler::BpfProgram| seccompiler::apply_filter(&program));
    if applied.is_err() {
        return ExitCode::FAILURE;
    }
    tallymill_sandbox::child_main(std::env::args_os().skip(1)).unwrap_or(ExitCode::FAILURE)
}
