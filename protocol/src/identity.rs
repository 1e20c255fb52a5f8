//! Who is who: logins, accounts, host bindings, key rotation and revocation; and two statements that later roles sign.

use crate::cbor::{Text, record};
use crate::id::{AccountId, CoordinatorId, Digest, HostId, Key, Micros, Network, Nonce};

/// Longest life of a login challenge, µs: five minutes.
pub const MAX_LOGIN: u64 = 300 * Micros::SECOND;
/// Longest life of a host binding, µs: 90 days.
pub const MAX_BINDING: u64 = 90 * Micros::DAY;

record! {
    /// Proof of a key to one coordinator at one address, for one purpose: a relayed challenge is useless.
    pub struct Login("login", 1024) {
        /// Format version: 1.
        0 => format: u32 = 1,
        /// The coordinator's key.
        1 => audience: Key,
        /// Scheme, host and port that the client dialled.
        2 => origin: Text<300>,
        /// "api", "worker" or "web".
        3 => purpose: Text<16>,
        /// The challenge.
        4 => nonce: Nonce,
        /// When the challenge ends.
        5 => expiry: Micros,
        /// Who signs.
        6 => signer: Key,
    }
}

record! {
    /// An account publishes itself and commits to a recovery key.
    pub struct AccountStatement("account", 512) {
        /// Format version: 1.
        0 => format: u32 = 1,
        /// The network.
        1 => network: Network,
        /// The account.
        2 => account: AccountId,
        /// Digest of the recovery public key.
        3 => recovery: Digest,
        /// When.
        4 => issued: Micros,
    }
}

record! {
    /// An owner says that a host is theirs, for at most [`MAX_BINDING`].
    pub struct HostBinding("host-binding", 512) {
        /// Format version: 1.
        0 => format: u32 = 1,
        /// The network.
        1 => network: Network,
        /// The host.
        2 => host: HostId,
        /// The owner's account.
        3 => owner: AccountId,
        /// From when.
        4 => issued: Micros,
        /// Until when.
        5 => expiry: Micros,
    }
}

record! {
    /// An account moves to a new key.
    pub struct Rotation("rotation", 512) {
        /// Format version: 1.
        0 => format: u32 = 1,
        /// The network.
        1 => network: Network,
        /// The account: its first key, for ever.
        2 => account: AccountId,
        /// The new key.
        3 => key: Key,
        /// Digest of the next recovery public key.
        4 => recovery: Digest,
        /// Position among this account's rotations, from 1.
        5 => sequence: u64,
        /// When.
        6 => issued: Micros,
    }
}

record! {
    /// An owner withdraws a host: reports count only if logged before.
    pub struct Revocation("revocation", 512) {
        /// Format version: 1.
        0 => format: u32 = 1,
        /// The network.
        1 => network: Network,
        /// The owner's account.
        2 => owner: AccountId,
        /// The host.
        3 => host: HostId,
        /// When.
        4 => issued: Micros,
    }
}

record! {
    /// A delegate says that it keeps a blob.
    pub struct StorageReceipt("storage-receipt", 512) {
        /// Format version: 1.
        0 => format: u32 = 1,
        /// The network.
        1 => network: Network,
        /// Who keeps it.
        2 => holder: CoordinatorId,
        /// The blob.
        3 => blob: Digest,
        /// Its length, bytes.
        4 => length: u64,
        /// Until when.
        5 => until: Micros,
    }
}

record! {
    /// One step of a pre-committed hash chain, mixed into the draws of audits.
    pub struct BeaconReveal("beacon-reveal", 512) {
        /// Format version: 1.
        0 => format: u32 = 1,
        /// The network.
        1 => network: Network,
        /// Who reveals.
        2 => revealer: Key,
        /// Position in the chain.
        3 => index: u64,
        /// Its digest is the value revealed before.
        4 => preimage: [u8; 32],
    }
}
