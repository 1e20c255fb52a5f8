//! Stored values, and what they become.

use tallymill_engine::rows::{
    AccountStatus, FaultKind, HoldKind, JobState, ReplicaState, SuspensionKind, TaskState,
};
use tallymill_ledger::{Amount, TransferKind};
use tallymill_protocol::{
    AccountId, AttemptId, CoordinatorId, Digest, HostId, JobId, Key, LeaseDigest, Message, Micros,
    SignedBytes, TaskIndex,
};

use crate::names::{Named, keep};

/// A stored value that becomes a `T`; `None` when it is none.
pub(super) trait Cell<T> {
    /// The value.
    fn value(&self) -> Option<T>;
}

macro_rules! cells {
    ($($from:ty => $to:ty: |$cell:ident| $value:expr;)*) => {$(
        impl Cell<$to> for $from {
            fn value(&self) -> Option<$to> {
                let $cell = self;
                $value
            }
        }
    )*};
}

macro_rules! ids {
    ($($id:ident),*) => { cells! { $(Vec<u8> => $id: |bytes| $id::from_slice(bytes);)* } };
}
ids!(AccountId, AttemptId, CoordinatorId, Digest, HostId, JobId, Key, LeaseDigest);

macro_rules! names {
    ($($name:ident),*) => { cells! { $(String => $name: |text| $name::from_name(text);)* } };
}
names!(
    AccountStatus,
    FaultKind,
    HoldKind,
    JobState,
    ReplicaState,
    SuspensionKind,
    TaskState,
    TransferKind
);

cells! {
    i64 => u64: |number| u64::try_from(*number).ok();
    i64 => u32: |number| u32::try_from(*number).ok();
    i16 => u8: |number| u8::try_from(*number).ok();
    i64 => i64: |number| Some(*number);
    bool => bool: |truth| Some(*truth);
    i64 => Amount: |number| Some(Amount::new(*number));
    i64 => Micros: |number| u64::try_from(*number).ok().map(Micros);
    i64 => TaskIndex: |number| u32::try_from(*number).ok().map(TaskIndex);
    String => String: |text| Some(text.clone());
    String => &'static str: |text| keep(text);
    Vec<u8> => Vec<u8>: |bytes| Some(bytes.clone());
    Vec<u8> => [u8; 32]: |bytes| bytes.as_slice().try_into().ok();
    Vec<u8> => [u8; 8]: |bytes| bytes.as_slice().try_into().ok();
    Vec<u8> => SignedBytes: |bytes| SignedBytes::from_bytes(bytes).ok();
    Vec<u8> => Vec<Digest>: |bytes| digests(bytes);
}

impl<S: Cell<T>, T> Cell<Option<T>> for Option<S> {
    fn value(&self) -> Option<Option<T>> {
        self.as_ref().map_or(Some(None), |cell| cell.value().map(Some))
    }
}

/// Tasks stored one after the other, four big-endian bytes each.
impl Cell<Vec<TaskIndex>> for Option<Vec<u8>> {
    fn value(&self) -> Option<Vec<TaskIndex>> {
        let (tasks, rest) = self.as_deref().unwrap_or_default().as_chunks();
        let tasks = tasks.iter().map(|task| TaskIndex(u32::from_be_bytes(*task)));
        rest.is_empty().then(|| tasks.collect())
    }
}

/// Digests stored one after the other.
fn digests(bytes: &[u8]) -> Option<Vec<Digest>> {
    let chunks = bytes.chunks_exact(32);
    chunks.remainder().is_empty().then(|| chunks.filter_map(Digest::from_slice).collect())
}

/// A part of a row's key as people read it.
pub(super) trait Shown {
    /// As people read it.
    fn shown(&self) -> String;
}

impl Shown for Vec<u8> {
    fn shown(&self) -> String {
        self.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl Shown for i64 {
    fn shown(&self) -> String {
        self.to_string()
    }
}

impl Shown for String {
    fn shown(&self) -> String {
        self.clone()
    }
}
