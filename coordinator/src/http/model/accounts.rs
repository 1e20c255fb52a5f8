//! Accounts, hosts, transfers.

use serde::Serialize;
use tallymill_engine::rows::{AccountRow, HostRow, TransferRow};
use tallymill_ledger::Amount;
use tallymill_storage::BalanceTotal;
use utoipa::ToSchema;

use super::names::{AccountStatus, TransferName};
use super::{Decimal, Id};

/// An account. Balances are zero and empty for others than its owner.
#[derive(Debug, Serialize, ToSchema)]
pub struct Account {
    /// Its id: its first key.
    pub id: Id,
    /// The key it signs with now.
    pub key: Id,
    /// How it stands.
    pub status: AccountStatus,
    /// Rotations so far.
    pub rotations: Decimal,
    /// Credit granted to it so far.
    pub granted: Decimal,
    /// When it joined.
    pub joined: Decimal,
    /// Credit it can spend.
    pub available: Decimal,
    /// Credit earned and not yet available.
    pub pending: Decimal,
    /// Credit held for its jobs.
    pub reserved: Decimal,
    /// Sums per issuer and kind.
    pub balances: Vec<Balance>,
}

/// What an account holds of one issuer in all ledger accounts of one kind.
#[derive(Debug, Serialize, ToSchema)]
pub struct Balance {
    /// Whose credit.
    pub issuer: Id,
    /// `available`, `granted` or `pending`.
    pub kind: String,
    /// How much.
    pub amount: Decimal,
}

impl Account {
    /// An account with its balances and what is held for its jobs.
    pub fn of(row: &AccountRow, totals: &[BalanceTotal], reserved: Amount) -> Self {
        let of = |kinds: &[&str]| -> Decimal {
            let some = totals.iter().filter(|total| kinds.contains(&total.kind.as_str()));
            some.map(|total| i128::from(total.amount.micros())).sum::<i128>().into()
        };
        let balance = |total: &BalanceTotal| Balance {
            issuer: Id::of(&total.issuer),
            kind: total.kind.clone(),
            amount: total.amount.into(),
        };
        Self {
            id: Id::of(&row.id),
            key: Id::of(&row.current_key),
            status: row.status.into(),
            rotations: row.rotations.into(),
            granted: row.granted.into(),
            joined: row.joined.into(),
            available: of(&["available", "granted"]),
            pending: of(&["pending"]),
            reserved: reserved.into(),
            balances: totals.iter().map(balance).collect(),
        }
    }
}

/// A host that joined.
#[derive(Debug, Serialize, ToSchema)]
pub struct Joined {
    /// Sequence that its next report must have.
    pub sequence: Decimal,
    /// Digest of its last report.
    pub last_report: Id,
    /// End of its binding.
    pub expiry: Decimal,
}

/// A volunteer machine.
#[derive(Debug, Serialize, ToSchema)]
pub struct Host {
    /// Its key.
    pub id: Id,
    /// Whose it is.
    pub owner: Id,
    /// End of its binding.
    pub expiry: Decimal,
    /// When its owner withdrew it.
    pub revoked: Option<Decimal>,
    /// When it was last heard of.
    pub seen: Decimal,
    /// Sequence that its next report must have.
    pub sequence: Decimal,
    /// Digest of its last report.
    pub last_report: Id,
    /// Tasks settled.
    pub settled: Decimal,
    /// Fuel of settled tasks.
    pub fuel: Decimal,
    /// Void runs.
    pub voided: Decimal,
    /// Results that lost a vote.
    pub outvoted: Decimal,
    /// Leased tasks that it never reported.
    pub abandoned: Decimal,
}

impl From<&HostRow> for Host {
    fn from(row: &HostRow) -> Self {
        Self {
            id: Id::of(&row.id),
            owner: Id::of(&row.owner),
            expiry: row.expiry.into(),
            revoked: row.revoked_at.map(Decimal::from),
            seen: row.seen.into(),
            sequence: row.reports.into(),
            last_report: Id::of(&row.last_report),
            settled: row.settled.into(),
            fuel: row.fuel.into(),
            voided: row.voided.into(),
            outvoted: row.outvoted.into(),
            abandoned: row.abandoned.into(),
        }
    }
}

/// A transfer.
#[derive(Debug, Serialize, ToSchema)]
pub struct Transfer {
    /// Position in the ledger.
    pub id: Decimal,
    /// What it is for.
    pub kind: TransferName,
    /// The ledger account it leaves.
    pub debit: String,
    /// The ledger account it enters.
    pub credit: String,
    /// The job it is about.
    pub job: Option<Id>,
    /// The host it is about.
    pub host: Option<Id>,
    /// How much.
    pub amount: Decimal,
    /// Root over the receipts that it settles, or digest of the statement that asked for it.
    pub evidence: Id,
    /// When.
    pub at: Decimal,
}

impl From<&TransferRow> for Transfer {
    fn from(row: &TransferRow) -> Self {
        let transfer = &row.transfer;
        Self {
            id: row.id.into(),
            kind: transfer.kind.into(),
            debit: transfer.debit.to_string(),
            credit: transfer.credit.to_string(),
            job: transfer.job.as_ref().map(Id::of),
            host: transfer.host.as_ref().map(Id::of),
            amount: transfer.amount.into(),
            evidence: Id::of(&transfer.evidence),
            at: row.at.into(),
        }
    }
}
