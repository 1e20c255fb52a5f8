//! States and kinds as the API and the pages name them.

use serde::Serialize;
use tallymill_engine::{Admission, rows};
use tallymill_ledger::TransferKind;
use utoipa::ToSchema;

/// A state or kind as its lower-case name.
pub fn text(value: impl std::fmt::Debug) -> String {
    format!("{value:?}").to_lowercase()
}

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident of $source:path { $($variant:ident),* })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
        #[serde(rename_all = "lowercase")]
        pub enum $name { $($variant),* }

        impl From<$source> for $name {
            fn from(value: $source) -> Self {
                match value { $(<$source>::$variant => Self::$variant),* }
            }
        }
    )*};
}

names! {
    /// Who may join.
    AdmissionName of Admission { Open, Approved, Closed }
    /// How an account stands.
    AccountStatus of rows::AccountStatus { Active, Waiting, Suspended }
    /// What a suspension is about.
    SuspensionKind of rows::SuspensionKind { Account, Module, Job, Host }
    /// In whose name results are kept.
    HoldName of rows::HoldKind { Payer, Operator }
    /// How a job stands.
    JobState of rows::JobState { Running, Stopping, Finished, Cancelled, Expired, Suspended }
    /// How a task was decided.
    TaskState of rows::TaskState { Provisional, Final, Failed }
    /// How a reported result stands.
    ReplicaState of rows::ReplicaState { Reported, Provisional, Final, Lost, Stopped, Void }
    /// Why a host gave no result.
    FaultName of rows::FaultKind { Void, Declined, Lapsed, Refused }
    /// What a transfer is for.
    TransferName of TransferKind {
        Grant, Hold, Release, Earn, Surcharge, Post, Void, AuditPay, Clear
    }
}
