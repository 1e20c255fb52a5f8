//! Accounts: who holds credit of which issuer, and how low each kind may go.

use std::fmt;

use tallymill_protocol::{AccountId, CoordinatorId, Digest, HostId, JobId, digest_in_context};

use crate::Amount;

/// What an account is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AccountKind {
    /// An owner's earned credit.
    Available {
        /// Whose it is.
        owner: AccountId,
    },
    /// An owner's granted credit: pays for jobs, becomes earned only in somebody else's hands.
    Granted {
        /// Whose it is.
        owner: AccountId,
    },
    /// What is set aside for one job.
    Escrow {
        /// The job.
        job: JobId,
    },
    /// What one host earned from one job and may not spend yet.
    Pending {
        /// The job.
        job: JobId,
        /// The host.
        host: HostId,
        /// Who is paid.
        owner: AccountId,
    },
    /// The surcharges of audited jobs; pays auditors.
    AuditPool,
    /// The operator's grants: goes negative in public.
    Grants,
    /// What this issuer took over from another one, negative, or handed to it, positive.
    Clearing {
        /// The other issuer.
        with: CoordinatorId,
    },
}

/// The four columns that name an account beside its issuer: kind, owner, job, host.
type Parts = (&'static str, Option<[u8; 32]>, Option<JobId>, Option<HostId>);

impl AccountKind {
    /// The lowest balance allowed; `None` where there is no floor.
    ///
    /// Grants are bounded by [`crate::GrantPolicy`] and clearing by the limit given to [`crate::clear`] instead.
    ///
    /// ```
    /// use tallymill_ledger::{AccountKind, Amount};
    /// assert_eq!(AccountKind::AuditPool.floor(), Some(Amount::ZERO));
    /// assert_eq!(AccountKind::Grants.floor(), None);
    /// ```
    #[must_use]
    pub const fn floor(&self) -> Option<Amount> {
        match self {
            Self::Grants | Self::Clearing { .. } => None,
            _ => Some(Amount::ZERO),
        }
    }

    /// Name, owner (the other issuer's key for clearing), job and host: the columns it is stored in.
    ///
    /// ```
    /// use tallymill_ledger::AccountKind;
    /// let kind = AccountKind::Escrow { job: tallymill_protocol::JobId([1; 32]) };
    /// let (name, owner, job, host) = kind.parts();
    /// assert_eq!(name, "escrow");
    /// assert_eq!(AccountKind::from_parts(name, owner, job, host), Some(kind));
    /// ```
    #[must_use]
    pub const fn parts(&self) -> (&'static str, Option<[u8; 32]>, Option<JobId>, Option<HostId>) {
        let parts: Parts = match self {
            Self::Available { owner } => ("available", Some(owner.0), None, None),
            Self::Granted { owner } => ("granted", Some(owner.0), None, None),
            Self::Escrow { job } => ("escrow", None, Some(*job), None),
            Self::Pending { job, host, owner } => {
                ("pending", Some(owner.0), Some(*job), Some(*host))
            }
            Self::AuditPool => ("audit_pool", None, None, None),
            Self::Grants => ("grants", None, None, None),
            Self::Clearing { with } => ("clearing", Some(with.0), None, None),
        };
        parts
    }

    /// The kind with these parts; `None` when no kind has exactly them.
    #[must_use]
    pub fn from_parts(
        name: &str,
        owner: Option<[u8; 32]>,
        job: Option<JobId>,
        host: Option<HostId>,
    ) -> Option<Self> {
        let kind = match (name, owner, job, host) {
            ("available", Some(owner), None, None) => Self::Available { owner: AccountId(owner) },
            ("granted", Some(owner), None, None) => Self::Granted { owner: AccountId(owner) },
            ("escrow", None, Some(job), None) => Self::Escrow { job },
            ("pending", Some(owner), Some(job), Some(host)) => {
                Self::Pending { job, host, owner: AccountId(owner) }
            }
            ("audit_pool", None, None, None) => Self::AuditPool,
            ("grants", None, None, None) => Self::Grants,
            ("clearing", Some(with), None, None) => Self::Clearing { with: CoordinatorId(with) },
            _ => return None,
        };
        Some(kind)
    }
}

impl fmt::Display for AccountKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Available { owner } => write!(f, "available credit of {}", owner.short()),
            Self::Granted { owner } => write!(f, "granted credit of {}", owner.short()),
            Self::Escrow { job } => write!(f, "escrow of job {}", job.short()),
            Self::Pending { job, host, .. } => {
                write!(f, "pending credit of host {} from job {}", host.short(), job.short())
            }
            Self::AuditPool => f.write_str("audit pool"),
            Self::Grants => f.write_str("grants"),
            Self::Clearing { with } => write!(f, "clearing with issuer {}", with.short()),
        }
    }
}

/// An account: what it is for, and whose credit it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountKey {
    /// Who issues the credit; only accounts of one issuer ever exchange any.
    pub issuer: CoordinatorId,
    /// What the account is for.
    pub kind: AccountKind,
}

/// The stable id of an account in storage, statements and the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LedgerAccountId(pub [u8; 32]);

impl AccountKey {
    /// The digest with context `ledger-account` over issuer, kind name, a NUL byte, then owner, job and host where the kind
    /// has them. The name tells which follow, and each has 32 bytes, so no two accounts share an id.
    ///
    /// ```
    /// use tallymill_ledger::{AccountKey, AccountKind};
    /// use tallymill_protocol::CoordinatorId;
    /// let key = |kind| AccountKey { issuer: CoordinatorId([1; 32]), kind };
    /// assert_ne!(key(AccountKind::Grants).id(), key(AccountKind::AuditPool).id());
    /// ```
    #[must_use]
    pub fn id(&self) -> LedgerAccountId {
        let (name, owner, job, host) = self.kind.parts();
        let mut bytes = [self.issuer.as_bytes(), name.as_bytes(), &[0]].concat();
        owner.iter().for_each(|owner| bytes.extend_from_slice(owner));
        job.iter().for_each(|job| bytes.extend_from_slice(job.as_bytes()));
        host.iter().for_each(|host| bytes.extend_from_slice(host.as_bytes()));
        let Digest(id) = digest_in_context("ledger-account", &[&bytes]);
        LedgerAccountId(id)
    }
}

impl fmt::Display for AccountKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at issuer {}", self.kind, self.issuer.short())
    }
}
