//! What operators read and do: the examination of the ledger, the journal, suspensions and statements about keys.

use serde::Serialize;
use tallymill_engine::rows::{AdminRow, KeyRow, SuspensionRow};
use tallymill_protocol::{Digest, Message as _};
use tallymill_storage::{LedgerAudit, Offence, Rule};
use utoipa::ToSchema;

use super::names::SuspensionKind;
use super::values::base64;
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

/// Something that an operator did.
#[derive(Debug, Serialize, ToSchema)]
pub struct Act {
    /// Position in the journal, from 1.
    pub number: Decimal,
    /// Who did it.
    pub operator: Id,
    /// What: `grant`, `suspend`, `lift` or `approve`.
    pub action: String,
    /// To whom or what: an account, or a kind and an id.
    pub subject: String,
    /// Why, or how much was granted.
    pub reason: String,
    /// When.
    pub at: Decimal,
}

/// Something that gets no leases.
#[derive(Debug, Serialize, ToSchema)]
pub struct Suspension {
    /// What it is about.
    pub kind: SuspensionKind,
    /// Which.
    pub subject: Id,
    /// Why.
    pub reason: String,
    /// Since when.
    pub at: Decimal,
}

/// A signed statement about an account's keys.
#[derive(Debug, Serialize, ToSchema)]
pub struct KeyStatement {
    /// Position in the order of acceptance by this coordinator, from 1; other accounts' statements come between.
    pub number: Decimal,
    /// `account`, `rotation`, `host-binding` or `revocation`.
    pub kind: String,
    /// The statement as signed: a signed message in canonical CBOR, in base64.
    pub statement: String,
    /// When it was accepted: signatures count only if made known before a revocation.
    pub at: Decimal,
}

impl From<&AdminRow> for Act {
    fn from(row: &AdminRow) -> Self {
        Self {
            number: row.id.into(),
            operator: Id::of(&row.actor),
            action: row.action.to_owned(),
            subject: row.subject.clone(),
            reason: row.reason.clone(),
            at: row.at.into(),
        }
    }
}

impl From<&SuspensionRow> for Suspension {
    fn from(row: &SuspensionRow) -> Self {
        Self {
            kind: row.kind.into(),
            subject: Id::of(&Digest(row.subject)),
            reason: row.reason.clone(),
            at: row.at.into(),
        }
    }
}

impl From<&KeyRow> for KeyStatement {
    fn from(row: &KeyRow) -> Self {
        Self {
            number: row.id.into(),
            kind: row.kind.to_owned(),
            statement: base64(&row.envelope.to_bytes()),
            at: row.at.into(),
        }
    }
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
