//! The network and the way in.

use serde::Serialize;
use tallymill_protocol::{Tariff, Versions};
use tallymill_storage::Durability;
use utoipa::ToSchema;

use super::names::AdmissionName;
use super::{Decimal, Id};

/// What anybody may know of this network.
#[derive(Debug, Serialize, ToSchema)]
pub struct Network {
    /// Its name.
    pub network: String,
    /// The coordinator's key.
    pub coordinator: Id,
    /// Protocol versions that are spoken.
    pub protocol: Vec<u32>,
    /// How often the coordinator has started on its database.
    pub epoch: Decimal,
    /// Who may join.
    pub admission: AdmissionName,
    /// What a manifest must name.
    pub versions: ProfileVersions,
    /// The base tariff.
    pub tariff: Prices,
    /// Limits of this coordinator.
    pub limits: Limits,
    /// What a commit survives.
    pub storage: Storage,
    /// Whether leases are given and commits succeed.
    pub ready: bool,
}

/// Versions of the meter, its cost table and the profile.
#[derive(Debug, Serialize, ToSchema)]
pub struct ProfileVersions {
    /// The meter.
    pub meter: u32,
    /// Digest of its cost table.
    pub costs: Id,
    /// The profile.
    pub profile: u32,
}

impl From<Versions> for ProfileVersions {
    fn from(versions: Versions) -> Self {
        let costs = Id::of(&versions.costs);
        Self { meter: versions.meter, costs, profile: versions.profile }
    }
}

/// Prices in micro-credits per 10⁹ of each thing, and per task and compilation.
#[derive(Debug, Serialize, ToSchema)]
pub struct Prices {
    /// Fuel.
    pub fuel: Decimal,
    /// Bytes of input.
    pub input: Decimal,
    /// Bytes of output.
    pub output: Decimal,
    /// Bytes stored.
    pub storage: Decimal,
    /// Memory times fuel.
    pub memory: Decimal,
    /// Each task.
    pub task: Decimal,
    /// Each compilation.
    pub compile: Decimal,
}

impl From<Tariff> for Prices {
    fn from(tariff: Tariff) -> Self {
        Self {
            fuel: tariff.fuel.into(),
            input: tariff.input.into(),
            output: tariff.output.into(),
            storage: tariff.storage.into(),
            memory: tariff.memory.into(),
            task: tariff.task.into(),
            compile: tariff.compile.into(),
        }
    }
}

/// Limits of a coordinator.
#[derive(Debug, Serialize, ToSchema)]
pub struct Limits {
    /// Largest blob, bytes.
    pub blob: Decimal,
}

/// The database and what a commit survives.
#[derive(Debug, Serialize, ToSchema)]
pub struct Storage {
    /// The kind of database.
    pub database: String,
    /// `full`: the loss of power; `none`: not even the end of the process.
    pub synchronous: String,
}

impl From<Durability> for Storage {
    fn from(durability: Durability) -> Self {
        let (database, synchronous) = (durability.database.into(), durability.synchronous.into());
        Self { database, synchronous }
    }
}

/// What to sign for a login.
#[derive(Debug, Serialize, ToSchema)]
pub struct Challenge {
    /// Used once, 16 bytes in hexadecimal.
    pub nonce: String,
    /// When it ends.
    pub expiry: Decimal,
    /// The coordinator's key.
    pub audience: Id,
    /// The address that the caller dialled.
    pub origin: String,
}

/// A bearer token.
#[derive(Debug, Serialize, ToSchema)]
pub struct Token {
    /// For the header `Authorization: Bearer …`.
    pub token: String,
    /// When it ends.
    pub expires: Decimal,
}

/// A one-time link.
#[derive(Debug, Serialize, ToSchema)]
pub struct Link {
    /// Path of the link at this origin.
    pub path: String,
}
