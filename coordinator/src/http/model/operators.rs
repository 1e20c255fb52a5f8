//! What operators read: the examination of the ledger.

use serde::Serialize;
use tallymill_storage::{LedgerAudit, Offence, Rule};
use utoipa::ToSchema;

use super::{Decimal, Id};

/// What an examination of the whole ledger found.
#[derive(Debug, Serialize, ToSchema)]
pub struct Audit {
    /// Transfers examined.
    pub transfers: Decimal,
    /// Balances examined.
    pub balances: Decimal,
    /// Sum of all balances of each issuer: zero.
    pub sums: Vec<IssuerSum>,
    /// The rules that were examined, in words.
    pub rules: Vec<String>,
    /// What breaks a rule; at most 100 per rule.
    pub offences: Vec<BrokenRule>,
}

/// The sum of all balances of an issuer.
#[derive(Debug, Serialize, ToSchema)]
pub struct IssuerSum {
    /// Whose credit.
    pub issuer: Id,
    /// The sum.
    pub sum: Decimal,
}

/// Something that breaks a rule of the ledger.
#[derive(Debug, Serialize, ToSchema)]
pub struct BrokenRule {
    /// The rule, as in `rules`.
    pub rule: String,
    /// The issuer, ledger account, job or evidence.
    pub subject: String,
    /// What was found.
    pub found: Decimal,
    /// What it should be.
    pub expected: Decimal,
}

impl From<&Offence> for BrokenRule {
    fn from(offence: &Offence) -> Self {
        Self {
            rule: offence.rule.phrase().to_owned(),
            subject: offence.subject.clone(),
            found: offence.found.into(),
            expected: offence.expected.into(),
        }
    }
}

impl From<&LedgerAudit> for Audit {
    fn from(audit: &LedgerAudit) -> Self {
        let sums = audit.sums.iter();
        let sums =
            sums.map(|(issuer, sum)| IssuerSum { issuer: Id::of(issuer), sum: (*sum).into() });
        Self {
            transfers: audit.transfers.into(),
            balances: audit.balances.into(),
            sums: sums.collect(),
            rules: Rule::ALL.map(|rule| rule.phrase().to_owned()).to_vec(),
            offences: audit.offences.iter().map(BrokenRule::from).collect(),
        }
    }
}
