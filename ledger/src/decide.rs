//! What is moved at each step of a job's life, as transfers that the caller books in its own commit.

use tallymill_protocol::{AccountId, CoordinatorId, Digest, HostId, JobId};

use crate::{AccountKey, AccountKind, Amount, Book, LedgerError, Transfer, TransferKind};

/// A job as the ledger sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobAccounts {
    /// Whose credit pays.
    pub issuer: CoordinatorId,
    /// The job.
    pub job: JobId,
    /// Who pays.
    pub payer: AccountId,
}

/// Who did the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Payee {
    /// The host.
    pub host: HostId,
    /// Its owner, who is paid.
    pub owner: AccountId,
}

/// What was set aside for a job, by its source. The hold's transfers say the same, so it can be read from them again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Held {
    /// From the payer's granted credit; spent first.
    pub granted: Amount,
    /// From the payer's earned credit.
    pub earned: Amount,
}

/// A group of results that settle together: their prices and the root over their slots.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'p> {
    /// One price per result.
    pub prices: &'p [Amount],
    /// Root over the slots or receipts.
    pub evidence: Digest,
}

impl JobAccounts {
    const fn key(&self, kind: AccountKind) -> AccountKey {
        AccountKey { issuer: self.issuer, kind }
    }

    /// The job's escrow.
    #[must_use]
    pub const fn escrow(&self) -> AccountKey {
        self.key(AccountKind::Escrow { job: self.job })
    }

    /// What `payee` has pending from the job.
    #[must_use]
    pub const fn pending(&self, payee: &Payee) -> AccountKey {
        self.key(AccountKind::Pending { job: self.job, host: payee.host, owner: payee.owner })
    }

    /// Where final pay of `payee` goes: earned credit, or granted credit when the owner pays for the job.
    ///
    /// ```
    /// use tallymill_ledger::{AccountKind, JobAccounts, Payee};
    /// use tallymill_protocol::{AccountId, CoordinatorId, HostId, JobId};
    /// let payer = AccountId([3; 32]);
    /// let job = JobAccounts { issuer: CoordinatorId([1; 32]), job: JobId([2; 32]), payer };
    /// let own = Payee { host: HostId([4; 32]), owner: payer };
    /// assert_eq!(job.paid_out(&own).kind, AccountKind::Granted { owner: payer });
    /// ```
    #[must_use]
    pub fn paid_out(&self, payee: &Payee) -> AccountKey {
        let owner = payee.owner;
        self.key(if owner == self.payer {
            AccountKind::Granted { owner }
        } else {
            AccountKind::Available { owner }
        })
    }

    const fn granted(&self) -> AccountKey {
        self.key(AccountKind::Granted { owner: self.payer })
    }

    const fn available(&self) -> AccountKey {
        self.key(AccountKind::Available { owner: self.payer })
    }
}

/// No transfer for nothing, one for something.
fn moved(
    kind: TransferKind,
    accounts: (AccountKey, AccountKey),
    ids: (Option<JobId>, Option<HostId>),
    amount: Amount,
    evidence: Digest,
) -> Result<Vec<Transfer>, LedgerError> {
    let ((debit, credit), (job, host)) = (accounts, ids);
    if amount < Amount::ZERO {
        return Err(LedgerError::NotPositive(amount));
    }
    let transfer =
        Transfer { kind, issuer: debit.issuer, debit, credit, amount, job, host, evidence };
    Ok(if amount == Amount::ZERO { Vec::new() } else { vec![transfer] })
}

/// Sets min(`budget`, `cap`) aside for a job, granted credit first. `cap` is that of [`crate::cap`], `budget` the manifest's;
/// the evidence is the job's id.
///
/// # Errors
/// When the payer's earned and granted credit together are less.
///
/// ```
/// use tallymill_ledger::{hold, AccountKey, AccountKind, Amount, Balances, Held, JobAccounts};
/// use tallymill_protocol::{AccountId, CoordinatorId, JobId};
/// let job = JobAccounts { issuer: CoordinatorId([1; 32]), job: JobId([2; 32]), payer: AccountId([3; 32]) };
/// let mut balances = Balances::default();
/// let granted = AccountKey { issuer: job.issuer, kind: AccountKind::Granted { owner: job.payer } };
/// balances.load(granted, Amount::new(100));
/// let (held, transfers) = hold(&balances, &job, Amount::new(80), 1_000)?;
/// assert_eq!(held, Held { granted: Amount::new(80), earned: Amount::ZERO });
/// balances.apply_all(&transfers)?;
/// assert!(hold(&balances, &job, Amount::new(21), 1_000).is_err());
/// # Ok::<(), tallymill_ledger::LedgerError>(())
/// ```
pub fn hold(
    book: &impl Book,
    job: &JobAccounts,
    cap: Amount,
    budget: u64,
) -> Result<(Held, Vec<Transfer>), LedgerError> {
    let needed = cap.min(Amount::try_from(budget).unwrap_or(Amount::MAX));
    let (granted, earned) = (book.balance(&job.granted()), book.balance(&job.available()));
    let available = granted.plus(earned)?;
    if needed > available {
        return Err(LedgerError::Unaffordable { payer: job.payer, available, needed });
    }
    let from_grants = needed.min(granted);
    let held = Held { granted: from_grants, earned: needed.minus(from_grants)? };
    let take = |from, amount| {
        moved(
            TransferKind::Hold,
            (from, job.escrow()),
            (Some(job.job), None),
            amount,
            Digest(job.job.0),
        )
    };
    let mut transfers = take(job.granted(), held.granted)?;
    transfers.extend(take(job.available(), held.earned)?);
    Ok((held, transfers))
}

/// Pays a batch of one host's results from the escrow into what the host has pending.
///
/// # Errors
/// When a price is negative or their sum does not fit. That the escrow covers them is checked when it is booked.
///
/// ```
/// use tallymill_ledger::{earn, Amount, Batch, JobAccounts, Payee};
/// use tallymill_protocol::{AccountId, CoordinatorId, Digest, HostId, JobId};
/// let job = JobAccounts { issuer: CoordinatorId([1; 32]), job: JobId([2; 32]), payer: AccountId([3; 32]) };
/// let payee = Payee { host: HostId([4; 32]), owner: AccountId([5; 32]) };
/// let batch = Batch { prices: &[Amount::new(3), Amount::new(4)], evidence: Digest::of(b"slots") };
/// let transfers = earn(&job, &payee, &batch)?;
/// assert_eq!((transfers[0].amount, transfers[0].credit), (Amount::new(7), job.pending(&payee)));
/// # Ok::<(), tallymill_ledger::LedgerError>(())
/// ```
pub fn earn(
    job: &JobAccounts,
    payee: &Payee,
    batch: &Batch<'_>,
) -> Result<Vec<Transfer>, LedgerError> {
    per_host(TransferKind::Earn, (job.escrow(), job.pending(payee)), (job, payee), batch)
}

/// Makes a batch of pending pay spendable: to the owner's earned credit, or granted credit when the owner pays for the job.
///
/// # Errors
/// As [`earn`].
///
/// ```
/// use tallymill_ledger::{finalise, Amount, Batch, JobAccounts, Payee};
/// use tallymill_protocol::{AccountId, CoordinatorId, Digest, HostId, JobId};
/// let job = JobAccounts { issuer: CoordinatorId([1; 32]), job: JobId([2; 32]), payer: AccountId([3; 32]) };
/// let payee = Payee { host: HostId([4; 32]), owner: AccountId([5; 32]) };
/// let batch = Batch { prices: &[Amount::new(3)], evidence: Digest::of(b"slots") };
/// assert_eq!(finalise(&job, &payee, &batch)?[0].credit, job.paid_out(&payee));
/// # Ok::<(), tallymill_ledger::LedgerError>(())
/// ```
pub fn finalise(
    job: &JobAccounts,
    payee: &Payee,
    batch: &Batch<'_>,
) -> Result<Vec<Transfer>, LedgerError> {
    per_host(TransferKind::Post, (job.pending(payee), job.paid_out(payee)), (job, payee), batch)
}

/// Returns a batch of pending pay to the job's escrow.
///
/// # Errors
/// As [`earn`].
///
/// ```
/// use tallymill_ledger::{void, Amount, Batch, JobAccounts, Payee};
/// use tallymill_protocol::{AccountId, CoordinatorId, Digest, HostId, JobId};
/// let job = JobAccounts { issuer: CoordinatorId([1; 32]), job: JobId([2; 32]), payer: AccountId([3; 32]) };
/// let payee = Payee { host: HostId([4; 32]), owner: AccountId([5; 32]) };
/// let batch = Batch { prices: &[Amount::new(3)], evidence: Digest::of(b"slots") };
/// assert_eq!(void(&job, &payee, &batch)?[0].credit, job.escrow());
/// # Ok::<(), tallymill_ledger::LedgerError>(())
/// ```
pub fn void(
    job: &JobAccounts,
    payee: &Payee,
    batch: &Batch<'_>,
) -> Result<Vec<Transfer>, LedgerError> {
    per_host(TransferKind::Void, (job.pending(payee), job.escrow()), (job, payee), batch)
}

/// Moves the surcharge on a batch from the escrow into the audit pool; `prices` are those of [`crate::surcharge_on`].
///
/// # Errors
/// As [`earn`].
///
/// ```
/// use tallymill_ledger::{surcharge, AccountKind, Amount, Batch, JobAccounts};
/// use tallymill_protocol::{AccountId, CoordinatorId, Digest, JobId};
/// let job = JobAccounts { issuer: CoordinatorId([1; 32]), job: JobId([2; 32]), payer: AccountId([3; 32]) };
/// let batch = Batch { prices: &[Amount::new(3)], evidence: Digest::of(b"slots") };
/// assert_eq!(surcharge(&job, &batch)?[0].credit.kind, AccountKind::AuditPool);
/// # Ok::<(), tallymill_ledger::LedgerError>(())
/// ```
pub fn surcharge(job: &JobAccounts, batch: &Batch<'_>) -> Result<Vec<Transfer>, LedgerError> {
    let accounts = (job.escrow(), job.key(AccountKind::AuditPool));
    moved(TransferKind::Surcharge, accounts, (Some(job.job), None), sum(batch)?, batch.evidence)
}

fn per_host(
    kind: TransferKind,
    accounts: (AccountKey, AccountKey),
    (job, payee): (&JobAccounts, &Payee),
    batch: &Batch<'_>,
) -> Result<Vec<Transfer>, LedgerError> {
    moved(kind, accounts, (Some(job.job), Some(payee.host)), sum(batch)?, batch.evidence)
}

fn sum(batch: &Batch<'_>) -> Result<Amount, LedgerError> {
    if let Some(negative) = batch.prices.iter().find(|price| **price < Amount::ZERO) {
        return Err(LedgerError::NotPositive(*negative));
    }
    Ok(Amount::sum(batch.prices.iter().copied())?)
}

/// Gives what is left of the escrow back to the payer. `open` is the number of the job's results that are not final:
/// pending pay may still be voided into the escrow, so it closes only at 0. Granted credit counts as spent first, so at
/// most what was held of earned credit returns as earned. The evidence is the job's id.
///
/// # Errors
/// When results are open.
///
/// ```
/// use tallymill_ledger::{release, Amount, Balances, Held, JobAccounts};
/// use tallymill_protocol::{AccountId, CoordinatorId, JobId};
/// let job = JobAccounts { issuer: CoordinatorId([1; 32]), job: JobId([2; 32]), payer: AccountId([3; 32]) };
/// let held = Held { granted: Amount::new(50), earned: Amount::new(50) };
/// let mut balances = Balances::default();
/// balances.load(job.escrow(), Amount::new(70));
/// let returned: Vec<_> = release(&balances, &job, held, 0)?.iter().map(|transfer| transfer.amount).collect();
/// assert_eq!(returned, [Amount::new(20), Amount::new(50)]);
/// assert!(release(&balances, &job, held, 1).is_err());
/// # Ok::<(), tallymill_ledger::LedgerError>(())
/// ```
pub fn release(
    book: &impl Book,
    job: &JobAccounts,
    held: Held,
    open: u64,
) -> Result<Vec<Transfer>, LedgerError> {
    if open > 0 {
        return Err(LedgerError::ResultsOpen { job: job.job, open });
    }
    let left = book.balance(&job.escrow());
    let earned = left.min(held.earned);
    let back = |to, amount| {
        moved(
            TransferKind::Release,
            (job.escrow(), to),
            (Some(job.job), None),
            amount,
            Digest(job.job.0),
        )
    };
    let mut transfers = back(job.granted(), left.minus(earned)?)?;
    transfers.extend(back(job.available(), earned)?);
    Ok(transfers)
}

/// Pays `owner` from the audit pool of `issuer`.
///
/// # Errors
/// When the pool holds less, or the amount is not positive.
///
/// ```
/// use tallymill_ledger::{audit_pay, AccountKey, AccountKind, Amount, Balances};
/// use tallymill_protocol::{AccountId, CoordinatorId, Digest};
/// let issuer = CoordinatorId([1; 32]);
/// let mut balances = Balances::default();
/// balances.load(AccountKey { issuer, kind: AccountKind::AuditPool }, Amount::new(10));
/// let pay = |amount| audit_pay(&balances, issuer, AccountId([2; 32]), Amount::new(amount), Digest::ZERO);
/// assert!(pay(10).is_ok() && pay(11).is_err());
/// ```
pub fn audit_pay(
    book: &impl Book,
    issuer: CoordinatorId,
    owner: AccountId,
    amount: Amount,
    evidence: Digest,
) -> Result<Vec<Transfer>, LedgerError> {
    let pool = AccountKey { issuer, kind: AccountKind::AuditPool };
    let to = AccountKey { issuer, kind: AccountKind::Available { owner } };
    covered(book, pool, amount)?;
    moved(TransferKind::AuditPay, (pool, to), (None, None), amount, evidence)
}

fn covered(book: &impl Book, account: AccountKey, amount: Amount) -> Result<(), LedgerError> {
    if !amount.is_positive() {
        return Err(LedgerError::NotPositive(amount));
    }
    let available = book.balance(&account);
    let short = LedgerError::Floor { account: Box::new(account), available, needed: amount };
    if amount > available { Err(short) } else { Ok(()) }
}

/// Exchanges an owner's earned credit of issuer `from` for credit of issuer `to`, one transfer in the books of each:
/// `from` owes it to `to` from then on. `limit` is the most of `from`'s credit that `to` takes over.
///
/// # Errors
/// When the owner holds less, the limit would be passed, or both issuers are the same.
///
/// ```
/// use tallymill_ledger::{clear, AccountKey, AccountKind, Amount, Balances};
/// use tallymill_protocol::{AccountId, CoordinatorId, Digest};
/// let (from, to, owner) = (CoordinatorId([1; 32]), CoordinatorId([2; 32]), AccountId([3; 32]));
/// let mut balances = Balances::default();
/// balances.load(AccountKey { issuer: from, kind: AccountKind::Available { owner } }, Amount::new(10));
/// let exchange = |limit| clear(&balances, (from, to), owner, (Amount::new(10), Amount::new(limit)), Digest::ZERO);
/// assert_eq!(exchange(10)?.len(), 2);
/// assert!(exchange(9).is_err());
/// # Ok::<(), tallymill_ledger::LedgerError>(())
/// ```
pub fn clear(
    book: &impl Book,
    (from, to): (CoordinatorId, CoordinatorId),
    owner: AccountId,
    (amount, limit): (Amount, Amount),
    evidence: Digest,
) -> Result<Vec<Transfer>, LedgerError> {
    let key = |issuer, kind| AccountKey { issuer, kind };
    let given = key(from, AccountKind::Available { owner });
    let claim = key(to, AccountKind::Clearing { with: from });
    covered(book, given, amount)?;
    let held = Amount::ZERO.minus(book.balance(&claim))?;
    if from == to || held.plus(amount)? > limit {
        return Err(LedgerError::Clearing { issuer: to, from, held, asked: amount, limit });
    }
    let none = (None, None);
    let owed = key(from, AccountKind::Clearing { with: to });
    let mut transfers = moved(TransferKind::Clear, (given, owed), none, amount, evidence)?;
    let got = key(to, AccountKind::Available { owner });
    transfers.extend(moved(TransferKind::Clear, (claim, got), none, amount, evidence)?);
    Ok(transfers)
}

/// Where a job's budget stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reservation {
    /// What was held.
    pub budget: Amount,
    /// What results have cost, surcharges included.
    pub spent: Amount,
    /// What results that are leased or undecided may still cost.
    pub reserved: Amount,
}

/// Reserves `needed` more, or says that the budget is reserved: no lease may make a job cost more than was held.
///
/// A task with undecided results reserves the dearest of them up to the quorum, and every lease that runs for it.
///
/// # Errors
/// When spent, reserved and needed together exceed the budget.
///
/// ```
/// use tallymill_ledger::{reserve, Amount, Reservation};
/// let now = Reservation { budget: Amount::new(10), spent: Amount::new(4), reserved: Amount::new(3) };
/// assert_eq!(reserve(&now, Amount::new(3))?.reserved, Amount::new(6));
/// assert!(reserve(&now, Amount::new(4)).unwrap_err().to_string().starts_with("budget reserved"));
/// # Ok::<(), tallymill_ledger::LedgerError>(())
/// ```
pub fn reserve(now: &Reservation, needed: Amount) -> Result<Reservation, LedgerError> {
    let Reservation { budget, spent, reserved } = *now;
    if spent.plus(reserved)?.plus(needed)? > budget {
        return Err(LedgerError::BudgetReserved { budget, spent, reserved, needed });
    }
    Ok(Reservation { reserved: reserved.plus(needed)?, ..*now })
}
