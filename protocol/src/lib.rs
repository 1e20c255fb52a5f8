//! Formats of the Tallymill network: ids, canonical CBOR, signatures, manifests, leases, receipts, Merkle trees.
//!
//! `docs/protocol/formats.md` is the specification; this crate is its reference implementation. It is pure: it reads
//! no clock, draws no randomness and touches no files, so the coordinator, the worker, the verifier and the simulator
//! all run the same code.

pub mod cbor;
mod id;
mod identity;
mod inputs;
mod job;
mod keychain;
mod lease;
pub mod merkle;
mod receipt;
mod sign;
pub mod snapshot;
mod steps;
pub mod work;

pub use cbor::{DecodeError, Message};
pub use id::{
    AccountId, AttemptId, CoordinatorId, Digest, HostId, JobId, Key, LeaseDigest, Micros, Network,
    Nonce, ParseIdError, TaskIndex,
};
pub use identity::{
    AccountStatement, BeaconReveal, HostBinding, Login, MAX_BINDING, MAX_LOGIN, Revocation,
    Rotation, StorageReceipt,
};
pub use inputs::{Inputs, TableEntry};
pub use job::{
    Delegate, File, Interface, Limits, MAX_FUEL, MAX_TASKS, Manifest, ManifestError,
    PROFILE_VERSION, Policy, Requirements, Tariff, Versions, Visibility,
};
pub use keychain::{ChainError, KeyChain, MAX_ROTATIONS};
pub use lease::{Lease, MAX_LEASE_TASKS};
pub use receipt::{MAX_RECEIPTS, Outcome, Receipt, Report, Segment, Trap};
pub use sign::{Keypair, Signed, SignedBytes, VerifyError, digest_in_context};
pub use steps::{MIN_SEGMENT, STEP_FUEL, Steps};

/// The protocol version this crate writes; a server speaks it and the one before.
pub const PROTOCOL_VERSION: u32 = 1;

/// The oldest protocol version a server still answers. Version 1 is the first, so there is no older one yet.
pub const OLDEST_PROTOCOL_VERSION: u32 = 1;

/// Whether a peer that names `version` is answered: N and N−1, never 0.
#[must_use]
pub const fn speaks(version: u32) -> bool {
    version >= OLDEST_PROTOCOL_VERSION && version <= PROTOCOL_VERSION
}
