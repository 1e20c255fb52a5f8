//! Grants: the only way in which credit enters, recorded and capped.

use tallymill_protocol::{AccountId, CoordinatorId, Digest};

use crate::{AccountKey, AccountKind, Amount, LedgerError, Transfer, TransferKind};

/// How much an operator may grant. Published, so that everybody can check it against the account of the grants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GrantPolicy {
    /// Whose credit is granted.
    pub issuer: CoordinatorId,
    /// Most that one account ever gets.
    pub per_account: Amount,
    /// Most that all accounts together ever get.
    pub total: Amount,
}

/// What was granted before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GrantsSoFar {
    /// To the account that would get more.
    pub account: Amount,
    /// To all: the balance of the grants account, negated.
    pub total: Amount,
}

/// The transfer that grants `amount` to the account `to`; `evidence` is the digest of the operator's reason or entry.
///
/// # Errors
/// When the amount is not positive, or the account or the issuer would pass its limit.
///
/// ```
/// use tallymill_ledger::{grant, Amount, GrantPolicy, GrantsSoFar, LedgerError};
/// use tallymill_protocol::{AccountId, CoordinatorId, Digest};
/// let policy =
///     GrantPolicy { issuer: CoordinatorId([1; 32]), per_account: Amount::new(100), total: Amount::new(150) };
/// let so_far = GrantsSoFar { account: Amount::new(60), total: Amount::new(60) };
/// let ask = |amount| grant(&policy, &so_far, AccountId([2; 32]), Amount::new(amount), Digest::ZERO);
/// assert_eq!(ask(40)?[0].amount, Amount::new(40));
/// assert!(matches!(ask(41), Err(LedgerError::AccountGrants { .. })));
/// # Ok::<(), LedgerError>(())
/// ```
pub fn grant(
    policy: &GrantPolicy,
    so_far: &GrantsSoFar,
    to: AccountId,
    amount: Amount,
    evidence: Digest,
) -> Result<Vec<Transfer>, LedgerError> {
    if !amount.is_positive() {
        return Err(LedgerError::NotPositive(amount));
    }
    if so_far.account.plus(amount)? > policy.per_account {
        let (granted, limit) = (so_far.account, policy.per_account);
        return Err(LedgerError::AccountGrants { account: to, granted, asked: amount, limit });
    }
    if so_far.total.plus(amount)? > policy.total {
        let (granted, limit) = (so_far.total, policy.total);
        return Err(LedgerError::TotalGrants { granted, asked: amount, limit });
    }
    let key = |kind| AccountKey { issuer: policy.issuer, kind };
    Ok(vec![Transfer {
        kind: TransferKind::Grant,
        issuer: policy.issuer,
        debit: key(AccountKind::Grants),
        credit: key(AccountKind::Granted { owner: to }),
        amount,
        job: None,
        host: None,
        evidence,
    }])
}
