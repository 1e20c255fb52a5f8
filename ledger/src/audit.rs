//! What must hold of any set of books, as named functions for tests, the simulator and operators.

use std::collections::{BTreeMap, BTreeSet};

use tallymill_protocol::{AccountId, CoordinatorId, JobId};

use crate::{
    AccountKey, AccountKind, Amount, Balances, Book, GrantPolicy, LedgerError, Transfer,
    TransferKind,
};

/// What is known of a job beside its transfers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobRecord {
    /// Whose credit pays.
    pub issuer: CoordinatorId,
    /// Who pays.
    pub payer: AccountId,
    /// What running results may still cost.
    pub reserved: Amount,
    /// Whether its escrow was released.
    pub closed: bool,
}

/// Books to be examined: every transfer in order, the balances that stand, the jobs and the published limits of grants.
#[derive(Debug, Clone, Copy)]
pub struct Records<'r> {
    /// All transfers, oldest first.
    pub transfers: &'r [Transfer],
    /// The balances.
    pub balances: &'r Balances,
    /// The jobs.
    pub jobs: &'r BTreeMap<JobId, JobRecord>,
    /// One policy per issuer that grants.
    pub policies: &'r [GrantPolicy],
}

/// Books that are not in order.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// The balances of an issuer do not sum to zero.
    #[error("the balances of issuer {issuer} sum to {sum} micro-credits instead of 0")]
    Sum {
        /// The issuer.
        issuer: CoordinatorId,
        /// Their sum, micro-credits.
        sum: i128,
    },
    /// An account is below its floor.
    #[error("{account} holds {balance}, below its floor")]
    Floor {
        /// The account.
        account: Box<AccountKey>,
        /// What it holds.
        balance: Amount,
    },
    /// A transfer that could not have been booked after those before it.
    #[error("transfer {index} cannot be booked: {error}")]
    Transfer {
        /// Its position, from 0.
        index: usize,
        /// Why.
        error: Box<LedgerError>,
    },
    /// A balance that the transfers do not give.
    #[error("{account} holds {found}; the transfers give {expected}")]
    Balance {
        /// The account.
        account: Box<AccountKey>,
        /// What it holds.
        found: Amount,
        /// What the transfers give.
        expected: Amount,
    },
    /// An escrow holds less than running results may cost.
    #[error("the escrow of job {job} holds {escrow}; {reserved} are reserved")]
    Reserved {
        /// The job.
        job: JobId,
        /// What its escrow holds.
        escrow: Amount,
        /// What is reserved.
        reserved: Amount,
    },
    /// A closed job with credit left.
    #[error("job {job} is closed, but {account} holds {balance}")]
    Closed {
        /// The job.
        job: JobId,
        /// Its escrow, or pending pay from it.
        account: Box<AccountKey>,
        /// What it holds.
        balance: Amount,
    },
    /// More was granted than the published limit allows, or by an issuer that publishes none.
    #[error("issuer {issuer} granted {granted} to {}; the limit is {limit}", account.map_or_else(|| "all".to_owned(), |account| account.to_string()))]
    Granted {
        /// The issuer.
        issuer: CoordinatorId,
        /// Who got it; `None` for all together.
        account: Option<AccountId>,
        /// How much.
        granted: Amount,
        /// The limit.
        limit: Amount,
    },
    /// The same slots settled twice.
    #[error("transfer {index}: a {kind} with the evidence {evidence} was booked before")]
    Twice {
        /// Position of the second transfer.
        index: usize,
        /// Name of its kind.
        kind: &'static str,
        /// The root that both name.
        evidence: tallymill_protocol::Digest,
    },
    /// Pay that went to the wrong kind of credit, or a hold or release of somebody who is not the payer.
    #[error("transfer {index} of job {job} goes against the job's payer {payer}")]
    Payer {
        /// Its position.
        index: usize,
        /// The job.
        job: JobId,
        /// Who pays for it.
        payer: AccountId,
    },
    /// A transfer of a job that is not on record.
    #[error("transfer {index} names the unknown job {job}")]
    UnknownJob {
        /// Its position.
        index: usize,
        /// The job.
        job: JobId,
    },
}

/// A rule of the books.
pub type Invariant = fn(&Records<'_>) -> Result<(), Violation>;

/// Every rule with its name.
pub const INVARIANTS: &[(&str, Invariant)] = &[
    ("the balances of each issuer sum to zero", sum_is_zero),
    ("no balance is below its floor", floors_hold),
    ("the transfers give the balances", transfers_give_balances),
    ("every escrow covers what is reserved", escrow_covers_reserved),
    ("a closed job holds nothing", closed_is_empty),
    ("grants stay within their limits", grants_within_limits),
    ("nothing is paid twice", paid_once),
    ("pay follows the payer", pay_follows_payer),
];

/// Checks every rule; the name of the first that is broken comes with what breaks it.
///
/// # Errors
/// The first violation.
///
/// ```
/// use tallymill_ledger::{check, Balances, Records};
/// let (balances, jobs) = (Balances::default(), Default::default());
/// let records = Records { transfers: &[], balances: &balances, jobs: &jobs, policies: &[] };
/// assert!(check(&records).is_ok());
/// ```
pub fn check(records: &Records<'_>) -> Result<(), (&'static str, Violation)> {
    INVARIANTS
        .iter()
        .try_for_each(|(name, holds)| holds(records).map_err(|violation| (*name, violation)))
}

fn sum_is_zero(records: &Records<'_>) -> Result<(), Violation> {
    let mut sums = BTreeMap::<CoordinatorId, i128>::new();
    for (account, amount) in records.balances.iter() {
        *sums.entry(account.issuer).or_default() += i128::from(amount.micros());
    }
    let off = sums.into_iter().find(|(_, sum)| *sum != 0);
    off.map_or(Ok(()), |(issuer, sum)| Err(Violation::Sum { issuer, sum }))
}

fn floors_hold(records: &Records<'_>) -> Result<(), Violation> {
    let below = |(account, balance): &(&AccountKey, Amount)| {
        account.kind.floor().is_some_and(|floor| *balance < floor)
    };
    let low = records.balances.iter().find(below);
    low.map_or(Ok(()), |(account, balance)| {
        Err(Violation::Floor { account: Box::new(*account), balance })
    })
}

fn transfers_give_balances(records: &Records<'_>) -> Result<(), Violation> {
    let mut replayed = Balances::default();
    for (index, transfer) in records.transfers.iter().enumerate() {
        replayed
            .apply(transfer)
            .map_err(|error| Violation::Transfer { index, error: Box::new(error) })?;
    }
    let accounts = replayed.iter().chain(records.balances.iter()).map(|(account, _)| account);
    for account in accounts {
        let (found, expected) = (records.balances.balance(account), replayed.balance(account));
        if found != expected {
            return Err(Violation::Balance { account: Box::new(*account), found, expected });
        }
    }
    Ok(())
}

fn escrow_covers_reserved(records: &Records<'_>) -> Result<(), Violation> {
    for (job, record) in records.jobs {
        let key = AccountKey { issuer: record.issuer, kind: AccountKind::Escrow { job: *job } };
        let (escrow, reserved) = (records.balances.balance(&key), record.reserved);
        if escrow < reserved {
            return Err(Violation::Reserved { job: *job, escrow, reserved });
        }
    }
    Ok(())
}

fn closed_is_empty(records: &Records<'_>) -> Result<(), Violation> {
    for (account, balance) in records.balances.iter() {
        if let AccountKind::Escrow { job } | AccountKind::Pending { job, .. } = account.kind
            && records.jobs.get(&job).is_some_and(|record| record.closed)
        {
            return Err(Violation::Closed { job, account: Box::new(*account), balance });
        }
    }
    Ok(())
}

fn grants_within_limits(records: &Records<'_>) -> Result<(), Violation> {
    let mut granted = BTreeMap::<(CoordinatorId, Option<AccountId>), i128>::new();
    for transfer in records.transfers {
        if let (TransferKind::Grant, AccountKind::Granted { owner }) =
            (transfer.kind, transfer.credit.kind)
        {
            for account in [Some(owner), None] {
                *granted.entry((transfer.issuer, account)).or_default() +=
                    i128::from(transfer.amount.micros());
            }
        }
    }
    for ((issuer, account), sum) in granted {
        let policy = records.policies.iter().find(|policy| policy.issuer == issuer);
        let limit = policy.map_or(Amount::ZERO, |policy| {
            if account.is_some() { policy.per_account } else { policy.total }
        });
        if sum > i128::from(limit.micros()) {
            let granted = i64::try_from(sum).map_or(Amount::MAX, Amount::new);
            return Err(Violation::Granted { issuer, account, granted, limit });
        }
    }
    Ok(())
}

/// The same slots of a job earn once, are posted or voided once, and are surcharged once.
fn paid_once(records: &Records<'_>) -> Result<(), Violation> {
    let mut seen = BTreeSet::new();
    for (index, transfer) in records.transfers.iter().enumerate() {
        let class = match transfer.kind {
            TransferKind::Earn => 0,
            TransferKind::Post | TransferKind::Void => 1,
            TransferKind::Surcharge => 2,
            _ => continue,
        };
        if !seen.insert((class, transfer.job, transfer.host, transfer.evidence)) {
            return Err(Violation::Twice {
                index,
                kind: transfer.kind.name(),
                evidence: transfer.evidence,
            });
        }
    }
    Ok(())
}

fn pay_follows_payer(records: &Records<'_>) -> Result<(), Violation> {
    for (index, transfer) in records.transfers.iter().enumerate() {
        let Some(job) = transfer.job else { continue };
        let Some(record) = records.jobs.get(&job) else {
            return Err(Violation::UnknownJob { index, job });
        };
        let payer = record.payer;
        let fits = match (transfer.kind, transfer.debit.kind, transfer.credit.kind) {
            (TransferKind::Post, _, AccountKind::Granted { owner }) => owner == payer,
            (TransferKind::Post, _, AccountKind::Available { owner }) => owner != payer,
            (_, AccountKind::Granted { owner } | AccountKind::Available { owner }, _)
            | (_, _, AccountKind::Granted { owner } | AccountKind::Available { owner }) => {
                owner == payer
            }
            _ => true,
        };
        if !fits || transfer.issuer != record.issuer {
            return Err(Violation::Payer { index, job, payer });
        }
    }
    Ok(())
}
