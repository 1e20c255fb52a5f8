//! Accounts, hosts and their keys; and what operators do.

use tallymill_ledger::{AccountKey, AccountKind, Amount, Book as _, GrantsSoFar, grant};
use tallymill_protocol::{
    AccountId, AccountStatement, Digest, HostBinding, HostId, JobId, MAX_BINDING, MAX_ROTATIONS,
    Micros, Network, Revocation, Rotation, SignedBytes,
};

use crate::api::{Admission, Reply};
use crate::money::post;
use crate::refusal::Refusal;
use crate::rows::{
    AccountRow, AccountStatus, AdminRow, HostRow, JobState, KeyRow, SuspensionKind, SuspensionRow,
};
use crate::slots::stop_job;
use crate::state::{Core, Host};
use crate::work::{stop_host, suspended};

/// Longest reason of an operator, bytes.
pub const MAX_REASON: usize = 500;

fn done(subject: &[u8]) -> Result<Reply, Refusal> {
    Ok(Reply::Done { subject: subject.to_vec() })
}

pub fn field(field: &'static str, rule: impl Into<String>) -> Refusal {
    Refusal::Field { field, rule: rule.into() }
}

fn same_network(core: &Core, found: &Network) -> Result<(), Refusal> {
    let expected = &core.identity.network;
    if found == expected {
        return Ok(());
    }
    Err(Refusal::Network { expected: expected.to_string(), found: found.to_string() })
}

/// Whether `by` is an operator.
pub fn operator(core: &Core, by: AccountId) -> Result<(), Refusal> {
    let known = core.config.operators.contains(&by);
    let refusal = Refusal::Forbidden { by, action: "do this", who: "operators" };
    if known { Ok(()) } else { Err(refusal) }
}

/// Whether the account is in good standing and `envelope` is signed with the key that stands for it.
pub fn may_act(core: &Core, account: AccountId, envelope: &SignedBytes) -> Result<(), Refusal> {
    let row = core.accounts.get(&account).ok_or(Refusal::UnknownAccount(account))?;
    if row.current_key != envelope.signer {
        return Err(Refusal::Signer(account));
    }
    if row.status == AccountStatus::Waiting {
        return Err(Refusal::Waiting(account));
    }
    suspended(core, SuspensionKind::Account, &account.0, format!("account {}", account.short()))
}

/// Adds an entry to the operators' journal.
pub fn note(
    core: &mut Core,
    actor: AccountId,
    (action, subject, reason): (&'static str, String, String),
) {
    core.counters.admin += 1;
    let (id, at) = (core.counters.admin, core.now);
    core.out.batch.admin.push(AdminRow { id, actor, action, subject, reason, at });
}

fn log_key(core: &mut Core, account: AccountId, kind: &'static str, envelope: SignedBytes) {
    core.counters.key += 1;
    let (id, at) = (core.counters.key, core.now);
    core.out.batch.keys.push(KeyRow { id, account, kind, envelope, at });
    core.out.told.insert(account);
    core.out.network = true;
}

/// Takes an account in as the admission says. The same account again is no error.
pub fn on_open_account(
    core: &mut Core,
    statement: &AccountStatement,
    envelope: SignedBytes,
) -> Result<Reply, Refusal> {
    let id = statement.account;
    same_network(core, &statement.network)?;
    if envelope.signer.0 != id.0 {
        return Err(Refusal::Signer(id));
    }
    if core.accounts.contains_key(&id) {
        return done(&id.0);
    }
    if core.accounts.values().any(|row| row.current_key.0 == id.0) {
        return Err(field("account", "the key stands for another account"));
    }
    let status = match (core.config.admission, operator(core, id).is_ok()) {
        (_, true) | (Admission::Open, _) => AccountStatus::Active,
        (Admission::Approved, _) => AccountStatus::Waiting,
        (Admission::Closed, _) => return Err(Refusal::Closed),
    };
    let row = AccountRow {
        id,
        current_key: id.into(),
        recovery: Some(statement.recovery),
        rotations: 0,
        status,
        granted: Amount::ZERO,
        joined: core.now,
    };
    core.accounts.insert(id, row);
    core.out.accounts.insert(id);
    log_key(core, id, "account", envelope);
    done(&id.0)
}

/// Binds a host to its owner, or renews the binding.
pub fn on_join_host(
    core: &mut Core,
    binding: &HostBinding,
    envelope: SignedBytes,
    near: Option<[u8; 8]>,
) -> Result<Reply, Refusal> {
    let (id, owner, expiry) = (binding.host, binding.owner, binding.expiry);
    same_network(core, &binding.network)?;
    let row = core.accounts.get(&owner).ok_or(Refusal::UnknownAccount(owner))?;
    if row.current_key != envelope.signer {
        return Err(Refusal::Signer(owner));
    }
    if expiry <= core.now {
        return Err(Refusal::BindingEnded { host: id, expiry });
    }
    if expiry > core.now.plus(MAX_BINDING) || expiry.since(binding.issued) > MAX_BINDING {
        return Err(field("expiry", "at most 90 days from now and from its issue"));
    }
    match core.hosts.get(&id).map(|host| &host.row) {
        Some(known) if known.owner != owner => return Err(Refusal::HostTaken(id)),
        Some(HostRow { revoked_at: Some(at), .. }) => {
            return Err(Refusal::Revoked { host: id, at: *at });
        }
        Some(_) => {}
        None => room_for_host(core, owner)?,
    }
    let now = core.now;
    let host = core.hosts.entry(id).or_insert_with(|| new_host(id, owner, now));
    host.row.expiry = expiry;
    host.row.seen = now;
    host.near = near;
    let (sequence, last_report) = (host.row.reports, host.row.last_report);
    core.out.hosts.insert(id);
    core.active = (0, now);
    core.stirred = true;
    log_key(core, owner, "host-binding", envelope);
    Ok(Reply::Host { sequence, last_report, expiry })
}

fn room_for_host(core: &Core, owner: AccountId) -> Result<(), Refusal> {
    let limit = core.config.max_hosts_per_account;
    let hosts = core.hosts.values().filter(|host| host.row.owner == owner);
    let count = hosts.filter(|host| host.row.revoked_at.is_none()).count();
    let refusal = Refusal::Limit { what: "hosts of an account", limit };
    if count < limit { Ok(()) } else { Err(refusal) }
}

fn new_host(id: HostId, owner: AccountId, now: Micros) -> Host {
    let row = HostRow {
        id,
        owner,
        expiry: now,
        revoked_at: None,
        joined: now,
        seen: now,
        reports: 0,
        last_report: Digest::ZERO,
        settled: 0,
        fuel: 0,
        voided: 0,
        outvoted: 0,
        abandoned: 0,
    };
    Host { row, near: None, leases: Default::default(), written: now }
}

/// Moves an account to a new key, signed with the current key or the recovery key it committed to.
pub fn on_rotate(
    core: &mut Core,
    rotation: &Rotation,
    envelope: SignedBytes,
) -> Result<Reply, Refusal> {
    let id = rotation.account;
    same_network(core, &rotation.network)?;
    let others = core.accounts.values().filter(|row| row.id != id);
    let taken =
        others.clone().any(|row| row.current_key == rotation.key || row.id.0 == rotation.key.0);
    let row = core.accounts.get_mut(&id).ok_or(Refusal::UnknownAccount(id))?;
    let recovers = row.recovery == Some(Digest::of(envelope.signer.as_bytes()));
    if row.current_key != envelope.signer && !recovers {
        return Err(Refusal::Signer(id));
    }
    if rotation.sequence != row.rotations + 1 {
        let rule = format!("{} is expected, found {}", row.rotations + 1, rotation.sequence);
        return Err(field("sequence", rule));
    }
    if usize::try_from(rotation.sequence).is_ok_and(|sequence| sequence > MAX_ROTATIONS) {
        return Err(Refusal::Limit { what: "rotations of an account", limit: MAX_ROTATIONS });
    }
    if taken {
        return Err(field("key", "it stands for another account"));
    }
    row.current_key = rotation.key;
    row.recovery = Some(rotation.recovery);
    row.rotations = rotation.sequence;
    core.out.accounts.insert(id);
    log_key(core, id, "rotation", envelope);
    done(&id.0)
}

/// Withdraws a host for ever: what it reports later does not count.
pub fn on_revoke(
    core: &mut Core,
    revocation: &Revocation,
    envelope: SignedBytes,
) -> Result<Reply, Refusal> {
    let (id, owner) = (revocation.host, revocation.owner);
    same_network(core, &revocation.network)?;
    let account = core.accounts.get(&owner).ok_or(Refusal::UnknownAccount(owner))?;
    if account.current_key != envelope.signer {
        return Err(Refusal::Signer(owner));
    }
    let host = core.hosts.get_mut(&id).ok_or(Refusal::UnknownHost(id))?;
    if host.row.owner != owner {
        let who = "its owner";
        return Err(Refusal::Forbidden { by: owner, action: "withdraw this host", who });
    }
    if host.row.revoked_at.is_none() {
        host.row.revoked_at = Some(core.now);
        let attempts: Vec<_> = host.leases.iter().copied().collect();
        attempts.into_iter().for_each(|attempt| crate::slots::lapse(core, attempt));
        core.out.hosts.insert(id);
        log_key(core, owner, "revocation", envelope);
    }
    done(&id.0)
}

/// Lets a waiting account in.
pub fn on_approve(core: &mut Core, by: AccountId, account: AccountId) -> Result<Reply, Refusal> {
    operator(core, by)?;
    let row = core.accounts.get_mut(&account).ok_or(Refusal::UnknownAccount(account))?;
    if row.status == AccountStatus::Waiting {
        row.status = AccountStatus::Active;
        core.out.accounts.insert(account);
        core.out.told.insert(account);
        core.stirred = true;
        note(core, by, ("approve", account.to_string(), String::new()));
    }
    done(&account.0)
}

/// Grants credit within the published limits.
pub fn on_grant(
    core: &mut Core,
    by: AccountId,
    to: AccountId,
    amount: Amount,
) -> Result<Reply, Refusal> {
    operator(core, by)?;
    let row = core.accounts.get(&to).ok_or(Refusal::UnknownAccount(to))?;
    let policy = core.config.grants;
    let grants = AccountKey { issuer: policy.issuer, kind: AccountKind::Grants };
    let granted = Amount::ZERO.minus(core.balances.balance(&grants)).unwrap_or(Amount::MAX);
    let so_far = GrantsSoFar { account: row.granted, total: granted };
    let entry = (core.counters.admin + 1).to_be_bytes();
    let evidence = tallymill_protocol::digest_in_context("grant", &[&entry, &by.0, &to.0]);
    let total = row.granted.plus(amount).unwrap_or(Amount::MAX);
    let mut number = 0;
    for transfer in grant(&policy, &so_far, to, amount, evidence)? {
        number = post(core, transfer)?;
    }
    if let Some(row) = core.accounts.get_mut(&to) {
        row.granted = total;
    }
    core.out.accounts.insert(to);
    note(core, by, ("grant", to.to_string(), amount.to_string()));
    done(&number.to_be_bytes())
}

/// Stops leases of an account, a module, a job or a host, and returns what its jobs have not used.
pub fn on_suspend(
    core: &mut Core,
    by: AccountId,
    (kind, subject): (SuspensionKind, [u8; 32]),
    reason: String,
) -> Result<Reply, Refusal> {
    operator(core, by)?;
    if reason.is_empty() || reason.chars().count() > MAX_REASON {
        return Err(field(
            "reason",
            format!("1 to {MAX_REASON} characters, for everybody to read"),
        ));
    }
    let row = SuspensionRow { kind, subject, reason: reason.clone(), at: core.now };
    core.suspensions.insert((kind, subject), row.clone());
    core.out.batch.lifted.retain(|lifted| *lifted != (kind, subject));
    core.out.batch.suspensions.push(row);
    core.out.network = true;
    note(core, by, ("suspend", name(kind, &subject), reason));
    let account = AccountId(subject);
    if kind == SuspensionKind::Account {
        set_status(core, account, AccountStatus::Active, AccountStatus::Suspended);
    }
    let hosts = core.hosts.iter().filter(|(id, host)| match kind {
        SuspensionKind::Host => id.0 == subject,
        SuspensionKind::Account => host.row.owner == account,
        _ => false,
    });
    let hosts: Vec<HostId> = hosts.map(|(id, _)| *id).collect();
    let jobs = core.jobs.iter().filter(|(id, job)| match kind {
        SuspensionKind::Job => id.0 == subject,
        SuspensionKind::Module => job.row.module.0 == subject,
        SuspensionKind::Account => job.row.payer == account || job.row.submitter == account,
        SuspensionKind::Host => false,
    });
    let jobs: Vec<JobId> = jobs.map(|(id, _)| *id).collect();
    hosts.into_iter().for_each(|host| stop_host(core, host));
    jobs.into_iter().for_each(|job| stop_job(core, job, JobState::Suspended));
    done(&subject)
}

/// Ends a suspension. Jobs that it stopped stay stopped.
pub fn on_lift(
    core: &mut Core,
    by: AccountId,
    (kind, subject): (SuspensionKind, [u8; 32]),
    reason: String,
) -> Result<Reply, Refusal> {
    operator(core, by)?;
    if core.suspensions.remove(&(kind, subject)).is_none() {
        return Err(field("subject", "it is not suspended"));
    }
    if kind == SuspensionKind::Account {
        set_status(core, AccountId(subject), AccountStatus::Suspended, AccountStatus::Active);
    }
    core.out.batch.suspensions.retain(|row| (row.kind, row.subject) != (kind, subject));
    core.out.batch.lifted.push((kind, subject));
    core.out.network = true;
    core.stirred = true;
    note(core, by, ("lift", name(kind, &subject), reason));
    done(&subject)
}

fn set_status(core: &mut Core, account: AccountId, from: AccountStatus, to: AccountStatus) {
    let Some(row) = core.accounts.get_mut(&account).filter(|row| row.status == from) else {
        return;
    };
    row.status = to;
    core.out.accounts.insert(account);
    core.out.told.insert(account);
}

fn name(kind: SuspensionKind, subject: &[u8; 32]) -> String {
    let kind = match kind {
        SuspensionKind::Account => "account",
        SuspensionKind::Module => "module",
        SuspensionKind::Job => "job",
        SuspensionKind::Host => "host",
    };
    format!("{kind} {}", Digest(*subject))
}
