//! What a coordinator is started with.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tallymill_engine::Admission;
use tallymill_ledger::{Amount, GrantPolicy};
use tallymill_protocol::{AccountId, CoordinatorId, Network};
use tallymill_storage::Place;

use crate::tokens::{LINK_LIFE, TOKEN_LIFE};

/// Limits of one coordinator; every queue and body has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Largest blob, bytes.
    pub blob: u64,
    /// Most bytes that one account may store.
    pub account_bytes: u64,
    /// Commands that wait for the engine; beyond it callers get 503.
    pub queue: usize,
    /// Batches of events kept for clients that come back.
    pub events: usize,
    /// Life of a bearer token, µs.
    pub session: u64,
    /// Life of a link that signs a browser in, µs.
    pub link: u64,
    /// Connections at once; more wait with the system.
    pub connections: usize,
    /// Longest time in which a connection brings no whole head of a request: at its start, between two requests, and for one.
    pub head: Duration,
    /// How long a body may let this side wait, and a reader of an answer, beside the time that its bytes have earned.
    pub stall: Duration,
}

impl Default for Bounds {
    /// Blobs of 1 GiB, 64 GiB per account, 4,096 waiting commands, 4,096 batches of events, sessions of an hour, links of a
    /// minute, 16,384 connections, half a minute for a head and for what stands still.
    fn default() -> Self {
        Self {
            blob: 1 << 30,
            account_bytes: 64 << 30,
            queue: 4_096,
            events: 4_096,
            session: TOKEN_LIFE,
            link: LINK_LIFE,
            connections: 16_384,
            head: Duration::from_secs(30),
            stall: Duration::from_secs(30),
        }
    }
}

/// How to start a coordinator.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Scheme, host and port that clients dial; `None` believes each request's `Host` header, over http.
    pub origin: Option<String>,
    /// Where key and blobs are kept.
    pub data: PathBuf,
    /// The database.
    pub database: Place,
    /// Where other coordinators on the same database reach this one, if it shares it: scheme, host and port.
    pub shared: Option<String>,
    /// Name of the network.
    pub network: Network,
    /// Who may join.
    pub admission: Admission,
    /// Who may grant, suspend, lift and approve.
    pub operators: Vec<AccountId>,
    /// Most credit that one account ever gets granted.
    pub grant_per_account: Amount,
    /// Most credit that is ever granted.
    pub grant_total: Amount,
    /// Limits.
    pub bounds: Bounds,
}

impl Options {
    /// SQLite in the data directory, open admission on `listen`, grants capped at 10⁶ credits an account and 10⁸ in all.
    #[must_use]
    pub fn new(listen: SocketAddr, data: PathBuf, network: Network) -> Self {
        Self {
            listen,
            origin: None,
            database: Place::File(data.join("tallymill.db")),
            shared: None,
            data,
            network,
            admission: Admission::Open,
            operators: Vec::new(),
            grant_per_account: Amount::new(1_000_000 * Amount::CREDIT),
            grant_total: Amount::new(100_000_000 * Amount::CREDIT),
            bounds: Bounds::default(),
        }
    }

    /// The limits of grants of this issuer.
    #[must_use]
    pub const fn grants(&self, issuer: CoordinatorId) -> GrantPolicy {
        GrantPolicy { issuer, per_account: self.grant_per_account, total: self.grant_total }
    }
}
