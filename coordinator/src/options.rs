//! What a coordinator is started with.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tallymill_engine::{Admission, Retention};
use tallymill_ledger::{Amount, GrantPolicy};
use tallymill_protocol::{AccountId, CoordinatorId, Network};
use tallymill_storage::Place;

use crate::rates::Rates;
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
    /// How often one client may call.
    pub rates: Rates,
}

impl Default for Bounds {
    /// Blobs of 1 GiB, 64 GiB per account, 4,096 waiting commands, 4,096 batches of events, sessions of an hour, links of a
    /// minute, 16,384 connections, half a minute for a head and for what stands still; for the rates see there.
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
            rates: Rates::default(),
        }
    }
}

/// A certificate with its chain, and its key, in files (PEM).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, then those that lead to its authority.
    pub cert: PathBuf,
    /// The key, which only its owner may read.
    pub key: PathBuf,
}

/// Plain HTTP where others can listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0} can be reached from elsewhere, and over plain HTTP everybody on the way reads tokens and results: name a \
     certificate with --tls-cert and --tls-key, or listen on 127.0.0.1 behind a proxy that speaks TLS; where the network \
     itself is safe, --allow-plain-http"
)]
pub struct PlainHttp(pub SocketAddr);

/// How to start a coordinator.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Scheme, host and port that clients dial; `None` believes each request's `Host` header.
    pub origin: Option<String>,
    /// What TLS is spoken with; `None` speaks plain HTTP.
    pub tls: Option<TlsFiles>,
    /// Whether plain HTTP may be spoken on an address that others can reach.
    pub allow_plain_http: bool,
    /// Where the key is kept.
    pub data: PathBuf,
    /// Where blobs are kept.
    pub blobs: PathBuf,
    /// The database.
    pub database: Place,
    /// Where other coordinators on the same database reach this one, if it shares it: scheme, host and port.
    pub shared: Option<String>,
    /// Authorities, besides the system's, that vouch for those others.
    pub ca: Option<PathBuf>,
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
    /// How long results and blobs that nobody names are kept.
    pub retention: Retention,
    /// Limits.
    pub bounds: Bounds,
}

impl Options {
    /// SQLite in the data directory, open admission on `listen`, grants capped at 10⁶ credits an account and 10⁸ in all, results
    /// kept for ever.
    #[must_use]
    pub fn new(listen: SocketAddr, data: PathBuf, network: Network) -> Self {
        Self {
            listen,
            origin: None,
            tls: None,
            allow_plain_http: false,
            database: Place::File(data.join("tallymill.db")),
            blobs: data.join("blobs"),
            shared: None,
            ca: None,
            data,
            network,
            admission: Admission::Open,
            operators: Vec::new(),
            grant_per_account: Amount::new(1_000_000 * Amount::CREDIT),
            grant_total: Amount::new(100_000_000 * Amount::CREDIT),
            retention: Retention::default(),
            bounds: Bounds::default(),
        }
    }

    /// `https` or `http`.
    #[must_use]
    pub const fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// Whether what is said can be heard by those alone that it is for.
    ///
    /// # Errors
    /// When it is plain HTTP on an address that others can reach, and nobody allowed that.
    pub fn private(&self) -> Result<(), PlainHttp> {
        let here = self.listen.ip().to_canonical().is_loopback();
        if here || self.tls.is_some() || self.allow_plain_http {
            return Ok(());
        }
        Err(PlainHttp(self.listen))
    }

    /// The limits of grants of this issuer.
    #[must_use]
    pub const fn grants(&self, issuer: CoordinatorId) -> GrantPolicy {
        GrantPolicy { issuer, per_account: self.grant_per_account, total: self.grant_total }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_this_machine_alone_unless_it_is_allowed() {
        let options = |listen: &str| {
            let network = Network::new("n").unwrap();
            Options::new(listen.parse().unwrap(), PathBuf::new(), network)
        };
        for listen in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            assert_eq!(options(listen).private(), Ok(()), "{listen}");
        }
        for listen in ["0.0.0.0:1", "[::]:1", "192.168.1.1:1", "[2001:db8::1]:1"] {
            let told = options(listen).private().unwrap_err().to_string();
            assert!(told.starts_with(listen) && told.contains("--tls-cert"), "{told}");
            let allowed = Options { allow_plain_http: true, ..options(listen) };
            assert_eq!(allowed.private(), Ok(()));
            let files = TlsFiles { cert: PathBuf::new(), key: PathBuf::new() };
            let tls = Options { tls: Some(files), ..options(listen) };
            assert_eq!((tls.private(), tls.scheme()), (Ok(()), "https"));
        }
    }
}
