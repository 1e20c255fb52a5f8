//! A small network: books that keep their log, and names for its members.

use std::collections::BTreeMap;

use tallymill_ledger::{
    AccountKey, AccountKind, Amount, Balances, Book, GrantPolicy, GrantsSoFar, JobAccounts,
    JobRecord, LedgerError, Payee, Records, Transfer, Violation, check, grant,
};
use tallymill_protocol::{AccountId, CoordinatorId, Digest, HostId, JobId};

/// Limits of the grants in these tests: per account and in all.
pub const GRANTS: (i64, i64) = (1_000, 2_500);

pub fn amount(micros: i64) -> Amount {
    Amount::new(micros)
}

pub fn issuer(n: u8) -> CoordinatorId {
    CoordinatorId([n + 100; 32])
}

pub fn owner(n: u8) -> AccountId {
    AccountId([n; 32])
}

/// Host `n` belongs to owner `n`.
pub fn payee(n: u8) -> Payee {
    Payee { host: HostId([n + 50; 32]), owner: owner(n) }
}

pub fn job(n: u32, payer: u8) -> JobAccounts {
    let JobId(id) = JobId(Digest::of(&n.to_be_bytes()).0);
    JobAccounts { issuer: issuer(0), job: JobId(id), payer: owner(payer) }
}

pub fn key(issuer: CoordinatorId, kind: AccountKind) -> AccountKey {
    AccountKey { issuer, kind }
}

pub fn policies() -> [GrantPolicy; 2] {
    [0, 1].map(|n| GrantPolicy {
        issuer: issuer(n),
        per_account: amount(GRANTS.0),
        total: amount(GRANTS.1),
    })
}

/// Books with their whole history.
#[derive(Default, Clone)]
pub struct World {
    pub balances: Balances,
    pub transfers: Vec<Transfer>,
    pub jobs: BTreeMap<JobId, JobRecord>,
}

impl World {
    /// Books what was decided, or leaves everything as it was.
    pub fn book(&mut self, decided: Result<Vec<Transfer>, LedgerError>) -> Result<(), LedgerError> {
        let transfers = decided?;
        self.balances.apply_all(&transfers)?;
        self.transfers.extend(transfers);
        Ok(())
    }

    pub fn granted(&self, issuer: CoordinatorId, to: AccountId) -> GrantsSoFar {
        let credit = key(issuer, AccountKind::Granted { owner: to });
        let grants = self
            .transfers
            .iter()
            .filter(|t| t.debit.kind == AccountKind::Grants && t.credit == credit);
        let account = Amount::sum(grants.map(|t| t.amount)).unwrap();
        let total =
            Amount::ZERO.minus(self.balances.balance(&key(issuer, AccountKind::Grants))).unwrap();
        GrantsSoFar { account, total }
    }

    pub fn grant(&mut self, n: u8, to: AccountId, micros: i64) -> Result<(), LedgerError> {
        let so_far = self.granted(issuer(n), to);
        let decided =
            grant(&policies()[usize::from(n)], &so_far, to, amount(micros), Digest::of(b"grant"));
        self.book(decided)
    }

    pub fn record(&mut self, job: &JobAccounts) {
        let record = JobRecord {
            issuer: job.issuer,
            payer: job.payer,
            reserved: Amount::ZERO,
            closed: false,
        };
        self.jobs.insert(job.job, record);
    }

    pub fn of(&self, kind: AccountKind) -> i64 {
        self.balances.balance(&key(issuer(0), kind)).micros()
    }

    pub fn check(&self) -> Result<(), (&'static str, Violation)> {
        let policies = policies();
        let (transfers, balances, jobs) = (&self.transfers[..], &self.balances, &self.jobs);
        check(&Records { transfers, balances, jobs, policies: &policies })
    }
}
