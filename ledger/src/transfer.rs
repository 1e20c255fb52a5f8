//! Transfers: credit moves from one account to another, along fixed routes only.

use tallymill_protocol::{CoordinatorId, Digest, HostId, JobId, digest_in_context};

use crate::{AccountKey, AccountKind, Amount};

/// Why credit moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TransferKind {
    /// The operator's grants → an owner's granted credit.
    Grant,
    /// A payer's granted or available credit → a job's escrow.
    Hold,
    /// A job's escrow → its payer's available or granted credit.
    Release,
    /// A job's escrow → what a host has pending from it.
    Earn,
    /// A job's escrow → the audit pool.
    Surcharge,
    /// Pending → its owner's available credit, or granted credit when the owner paid for the job.
    Post,
    /// Pending → the job's escrow.
    Void,
    /// The audit pool → an auditor's available credit.
    AuditPay,
    /// Available credit → clearing at the old issuer, or clearing → available credit at the new one.
    Clear,
}

impl TransferKind {
    /// Every kind.
    pub const ALL: [Self; 9] = [
        Self::Grant,
        Self::Hold,
        Self::Release,
        Self::Earn,
        Self::Surcharge,
        Self::Post,
        Self::Void,
        Self::AuditPay,
        Self::Clear,
    ];

    /// The name it is stored and shown under.
    ///
    /// ```
    /// use tallymill_ledger::TransferKind;
    /// assert_eq!(TransferKind::AuditPay.name(), "audit_pay");
    /// assert_eq!(TransferKind::from_name("audit_pay"), Some(TransferKind::AuditPay));
    /// ```
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Grant => "grant",
            Self::Hold => "hold",
            Self::Release => "release",
            Self::Earn => "earn",
            Self::Surcharge => "surcharge",
            Self::Post => "post",
            Self::Void => "void",
            Self::AuditPay => "audit_pay",
            Self::Clear => "clear",
        }
    }

    /// The kind of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Whether this kind may move credit from an account of kind `debit` to one of kind `credit`.
    fn allows(self, debit: &AccountKind, credit: &AccountKind) -> bool {
        use AccountKind as A;
        match (self, debit, credit) {
            (Self::Grant, A::Grants, A::Granted { .. })
            | (Self::Hold, A::Granted { .. } | A::Available { .. }, A::Escrow { .. })
            | (Self::Release, A::Escrow { .. }, A::Granted { .. } | A::Available { .. })
            | (Self::Surcharge, A::Escrow { .. }, A::AuditPool)
            | (Self::AuditPay, A::AuditPool, A::Available { .. })
            | (Self::Clear, A::Available { .. }, A::Clearing { .. })
            | (Self::Clear, A::Clearing { .. }, A::Available { .. }) => true,
            (Self::Earn, A::Escrow { job: from }, A::Pending { job: to, .. })
            | (Self::Void, A::Pending { job: from, .. }, A::Escrow { job: to }) => from == to,
            (
                Self::Post,
                A::Pending { owner: from, .. },
                A::Available { owner: to } | A::Granted { owner: to },
            ) => from == to,
            _ => false,
        }
    }
}

/// One movement of credit. It is written once and never changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Transfer {
    /// Why.
    pub kind: TransferKind,
    /// Whose credit; the issuer of both accounts.
    pub issuer: CoordinatorId,
    /// The account it leaves.
    pub debit: AccountKey,
    /// The account it enters.
    pub credit: AccountKey,
    /// How much, more than 0.
    pub amount: Amount,
    /// The job it belongs to, if any.
    pub job: Option<JobId>,
    /// The host whose work it is about, if any.
    pub host: Option<HostId>,
    /// The root over the slots or receipts that it settles, or the digest of the statement that asks for it.
    pub evidence: Digest,
}

impl Transfer {
    /// Whether kind, accounts, issuer, job and host fit each other.
    ///
    /// ```
    /// use tallymill_ledger::{AccountKey, AccountKind, Amount, Transfer, TransferKind};
    /// use tallymill_protocol::{AccountId, CoordinatorId, Digest};
    /// let issuer = CoordinatorId([1; 32]);
    /// let key = |kind| AccountKey { issuer, kind };
    /// let owner = AccountId([2; 32]);
    /// let mut transfer = Transfer {
    ///     kind: TransferKind::Grant,
    ///     issuer,
    ///     debit: key(AccountKind::Grants),
    ///     credit: key(AccountKind::Granted { owner }),
    ///     amount: Amount::new(5),
    ///     job: None,
    ///     host: None,
    ///     evidence: Digest::of(b"welcome"),
    /// };
    /// assert!(transfer.is_well_formed());
    /// transfer.credit = key(AccountKind::Available { owner });
    /// assert!(!transfer.is_well_formed());
    /// ```
    #[must_use]
    pub fn is_well_formed(&self) -> bool {
        let job = job_of(&self.debit.kind).or_else(|| job_of(&self.credit.kind));
        let host = host_of(&self.debit.kind).or_else(|| host_of(&self.credit.kind));
        self.kind.allows(&self.debit.kind, &self.credit.kind)
            && self.debit.issuer == self.issuer
            && self.credit.issuer == self.issuer
            && self.job == job
            && self.host == host
    }

    /// The digest with context `transfer` that stands for it in the log: issuer, kind name, a NUL byte, the ids of the
    /// debited and the credited account, the amount as eight big-endian bytes, the evidence. Accounts tell job and host.
    ///
    /// ```
    /// fn leaves(transfers: &[tallymill_ledger::Transfer]) -> Vec<tallymill_protocol::Digest> {
    ///     transfers.iter().map(|transfer| transfer.digest()).collect()
    /// }
    /// ```
    #[must_use]
    pub fn digest(&self) -> Digest {
        let parts: [&[u8]; 7] = [
            self.issuer.as_bytes(),
            self.kind.name().as_bytes(),
            &[0],
            &self.debit.id().0,
            &self.credit.id().0,
            &self.amount.micros().to_be_bytes(),
            self.evidence.as_bytes(),
        ];
        digest_in_context("transfer", &parts)
    }
}

const fn job_of(kind: &AccountKind) -> Option<JobId> {
    match kind {
        AccountKind::Escrow { job } | AccountKind::Pending { job, .. } => Some(*job),
        _ => None,
    }
}

const fn host_of(kind: &AccountKind) -> Option<HostId> {
    match kind {
        AccountKind::Pending { host, .. } => Some(*host),
        _ => None,
    }
}
