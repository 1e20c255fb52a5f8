//! Balances, and the one place where transfers change them.

use std::collections::BTreeMap;

use tallymill_protocol::{AccountId, CoordinatorId, JobId};

use crate::{AccountKey, Amount, AmountError, Transfer};

/// Why credit does not move.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// A transfer of nothing, or of less.
    #[error("a transfer moves more than 0, not {0}")]
    NotPositive(Amount),
    /// Kind, accounts, issuer, job and host do not fit each other.
    #[error("no {kind} goes from {debit} to {credit} with this issuer, job and host")]
    Route {
        /// Name of the transfer's kind.
        kind: &'static str,
        /// The account it would leave.
        debit: Box<AccountKey>,
        /// The account it would enter.
        credit: Box<AccountKey>,
    },
    /// An account would fall below its floor.
    #[error("{account} holds {available}, {needed} needed")]
    Floor {
        /// The account.
        account: Box<AccountKey>,
        /// What it can give.
        available: Amount,
        /// What it should give.
        needed: Amount,
    },
    /// A payer cannot cover a job.
    #[error("account {payer} has {available} available, the job needs {needed}: {} short", shortfall(*needed, *available))]
    Unaffordable {
        /// Who should pay.
        payer: AccountId,
        /// Earned and granted credit together.
        available: Amount,
        /// What the hold needs.
        needed: Amount,
    },
    /// A grant would pass the limit per account.
    #[error(
        "{account} was granted {granted}; with {asked} more it would pass the limit of {limit} an account"
    )]
    AccountGrants {
        /// Who would get it.
        account: AccountId,
        /// What it got so far.
        granted: Amount,
        /// What is asked.
        asked: Amount,
        /// The limit.
        limit: Amount,
    },
    /// A grant would pass the issuer's limit.
    #[error("{granted} are granted in all; with {asked} more they would pass the limit of {limit}")]
    TotalGrants {
        /// What all got so far.
        granted: Amount,
        /// What is asked.
        asked: Amount,
        /// The limit.
        limit: Amount,
    },
    /// What is spent and reserved leaves too little of the budget for another result.
    #[error(
        "budget reserved: of {budget}, {spent} are spent and {reserved} reserved; {needed} more do not fit"
    )]
    BudgetReserved {
        /// What was held for the job.
        budget: Amount,
        /// What results have cost.
        spent: Amount,
        /// What running results may still cost.
        reserved: Amount,
        /// What one more may cost.
        needed: Amount,
    },
    /// An escrow closes only when nothing of its job is open.
    #[error("job {job} has {open} results that are not final; its escrow stays open")]
    ResultsOpen {
        /// The job.
        job: JobId,
        /// Its results that are not final.
        open: u64,
    },
    /// An issuer would owe another one's credit beyond its limit, or clear with itself.
    #[error(
        "{issuer} takes over at most {limit} from {from}; it holds {held}, {asked} more are asked"
    )]
    Clearing {
        /// Who would take over.
        issuer: CoordinatorId,
        /// Whose credit it is.
        from: CoordinatorId,
        /// What it took over so far.
        held: Amount,
        /// What is asked.
        asked: Amount,
        /// The limit.
        limit: Amount,
    },
    /// Amounts that do not fit.
    #[error(transparent)]
    Amount(#[from] AmountError),
}

fn shortfall(needed: Amount, available: Amount) -> Amount {
    needed.minus(available).unwrap_or(Amount::MAX)
}

/// Where balances can be read.
pub trait Book {
    /// The balance of an account; nothing when it was never used.
    fn balance(&self, account: &AccountKey) -> Amount;
}

/// The new balances after a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Applied {
    /// Of the account that was debited.
    pub debit: Amount,
    /// Of the account that was credited.
    pub credit: Amount,
}

/// Balances of any number of accounts. An account that holds nothing takes no room.
///
/// ```
/// use tallymill_ledger::{grant, AccountKey, AccountKind, Amount, Balances, Book, GrantPolicy, GrantsSoFar};
/// use tallymill_protocol::{AccountId, CoordinatorId, Digest};
/// let issuer = CoordinatorId([1; 32]);
/// let owner = AccountId([2; 32]);
/// let policy = GrantPolicy { issuer, per_account: Amount::new(100), total: Amount::new(1_000) };
/// let transfers = grant(&policy, &GrantsSoFar::default(), owner, Amount::new(40), Digest::of(b"welcome"))?;
/// let mut balances = Balances::default();
/// balances.apply_all(&transfers)?;
/// let of = |kind| balances.balance(&AccountKey { issuer, kind });
/// assert_eq!(of(AccountKind::Granted { owner }), Amount::new(40));
/// assert_eq!(of(AccountKind::Grants), Amount::new(-40));
/// # Ok::<(), tallymill_ledger::LedgerError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Balances(BTreeMap<AccountKey, Amount>);

impl Book for Balances {
    fn balance(&self, account: &AccountKey) -> Amount {
        self.0.get(account).copied().unwrap_or_default()
    }
}

impl Balances {
    /// All accounts that hold something, in a fixed order.
    pub fn iter(&self) -> impl Iterator<Item = (&AccountKey, Amount)> {
        self.0.iter().map(|(account, amount)| (account, *amount))
    }

    /// Sets a balance as it was stored: for loading, never for moving credit.
    pub fn load(&mut self, account: AccountKey, amount: Amount) {
        if amount == Amount::ZERO {
            self.0.remove(&account);
        } else {
            self.0.insert(account, amount);
        }
    }

    /// Books one transfer. On an error nothing has changed.
    ///
    /// # Errors
    /// When the amount is not positive, the route is not one, the debited account would fall below its floor, or a balance does not fit.
    pub fn apply(&mut self, transfer: &Transfer) -> Result<Applied, LedgerError> {
        if !transfer.amount.is_positive() {
            return Err(LedgerError::NotPositive(transfer.amount));
        }
        let (debit, credit) = (transfer.debit, transfer.credit);
        if !transfer.is_well_formed() {
            return Err(LedgerError::Route {
                kind: transfer.kind.name(),
                debit: Box::new(debit),
                credit: Box::new(credit),
            });
        }
        let available = self.balance(&debit);
        let left = available.minus(transfer.amount)?;
        if debit.kind.floor().is_some_and(|floor| left < floor) {
            return Err(LedgerError::Floor {
                account: Box::new(debit),
                available,
                needed: transfer.amount,
            });
        }
        let applied = Applied { debit: left, credit: self.balance(&credit).plus(transfer.amount)? };
        self.load(debit, applied.debit);
        self.load(credit, applied.credit);
        Ok(applied)
    }

    /// Books all transfers in order, or none.
    ///
    /// # Errors
    /// The first error of [`Balances::apply`].
    pub fn apply_all(&mut self, transfers: &[Transfer]) -> Result<(), LedgerError> {
        let touched = transfers.iter().flat_map(|transfer| [transfer.debit, transfer.credit]);
        let before: Vec<_> = touched.map(|account| (account, self.balance(&account))).collect();
        let applied = transfers.iter().try_for_each(|transfer| self.apply(transfer).map(drop));
        if applied.is_err() {
            before.into_iter().for_each(|(account, amount)| self.load(account, amount));
        }
        applied
    }
}
