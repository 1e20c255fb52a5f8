//! The signer: a thread that owns the host key and the chain of reports.
//!
//! It is given leases, challenges and receipts, which are digests and numbers; a guest's bytes never reach it. It signs
//! receipts only under leases that it verified itself, and it never signs two different reports that leave this machine
//! under one sequence number: the chain moves on only when the caller says that the report is on disk. The exception is a
//! coordinator that never took a report: what waits is then signed again, with the same roots, from where it says it is.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::mpsc;

use tallymill_protocol::{
    CoordinatorId, Digest, HostId, Key, Keypair, Lease, LeaseDigest, Login, MAX_LEASE_TASKS,
    Message as _, Micros, Network, Receipt, Report, Signed, VerifyError, merkle,
};
use tokio::sync::oneshot;

use crate::files::{FileError, read_if_there, write_whole};

/// Where the chain of this host's reports stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chain {
    /// Sequence of the next report.
    pub next: u64,
    /// Digest of the last report's payload; zeros before the first.
    pub previous: Digest,
}

impl Chain {
    /// Before the first report.
    pub const START: Self = Self { next: 0, previous: Digest::ZERO };

    /// After `report`.
    #[must_use]
    pub fn after(report: &Report) -> Self {
        Self { next: report.sequence + 1, previous: report.digest() }
    }

    /// The one further on.
    #[must_use]
    pub const fn max(self, other: Self) -> Self {
        if other.next > self.next { other } else { self }
    }

    fn to_line(self) -> String {
        format!("{} {}\n", self.next, self.previous)
    }

    fn from_line(line: &str) -> Option<Self> {
        let (next, previous) = line.trim_end().split_once(' ')?;
        Some(Self { next: next.parse().ok()?, previous: previous.parse().ok()? })
    }
}

/// Why the signer does not sign.
#[derive(Debug, thiserror::Error)]
pub enum SignerError {
    /// The lease is not the pinned coordinator's.
    #[error("the lease is not believed: {0}")]
    Lease(#[from] VerifyError),
    /// The lease is for somebody or somewhere else, or over.
    #[error("the lease's {field} is not {rule}")]
    Foreign {
        /// The field.
        field: &'static str,
        /// What it must be.
        rule: &'static str,
    },
    /// A receipt under a lease that is not open here.
    #[error("a receipt names lease {0}, which is not open here")]
    NotOpen(LeaseDigest),
    /// A receipt that its lease does not allow.
    #[error("a receipt does not fit its lease: {0}")]
    Receipt(&'static str),
    /// The chain could not be kept.
    #[error(transparent)]
    File(#[from] FileError),
    /// The chain's file is damaged.
    #[error("{} is damaged; leave it in place and join again to learn the chain from the coordinator", .0.display())]
    Chain(PathBuf),
    /// The thread is gone.
    #[error("the signer has stopped")]
    Gone,
}

/// Whom the signer signs for and believes.
#[derive(Debug, Clone)]
pub(crate) struct Scope {
    pub(crate) network: Network,
    pub(crate) coordinator: CoordinatorId,
    pub(crate) chain_file: PathBuf,
}

type Answer<T> = oneshot::Sender<Result<T, SignerError>>;

enum Ask {
    Open(Signed<Lease>, Micros, Answer<Lease>),
    Close(LeaseDigest),
    Login(Login, Answer<Signed<Login>>),
    Report(Vec<Receipt>, Answer<Sealed>),
    Confirm(Report, Answer<()>),
    Again(Vec<Signed<Report>>, Chain, Answer<Vec<Resigned>>),
}

/// A report that was signed for another place in the chain.
pub(crate) type Resigned = (Signed<Report>, Report);

/// A signed report and the receipts as they are under its root.
#[derive(Debug)]
pub(crate) struct Sealed {
    pub(crate) report: Signed<Report>,
    pub(crate) message: Report,
    pub(crate) leases: Vec<Signed<Lease>>,
    pub(crate) receipts: Vec<Vec<u8>>,
}

/// The handle of the signer's thread, which ends when the last handle is dropped.
#[derive(Debug, Clone)]
pub struct Signer {
    asks: mpsc::Sender<Ask>,
    host: HostId,
}

/// Reads the chain's file; absent: the start.
pub(crate) fn read_chain(path: &std::path::Path) -> Result<Chain, SignerError> {
    let Some(bytes) = read_if_there(path)? else { return Ok(Chain::START) };
    let chain = std::str::from_utf8(&bytes).ok().and_then(Chain::from_line);
    chain.ok_or_else(|| SignerError::Chain(path.to_owned()))
}

/// Writes the chain's file.
pub(crate) fn write_chain(path: &std::path::Path, chain: Chain) -> Result<(), FileError> {
    write_whole(path, &[chain.to_line().as_bytes()])
}

impl Signer {
    pub(crate) fn spawn(pair: Keypair, scope: Scope, chain: Chain) -> Result<Self, FileError> {
        let (asks, inbox) = mpsc::channel();
        let host = HostId::from(pair.public());
        let path = scope.chain_file.clone();
        let mut state = State { pair, scope, chain, open: HashMap::new() };
        std::thread::Builder::new()
            .name("signer".into())
            .spawn(move || inbox.into_iter().for_each(|ask| state.handle(ask)))
            .map_err(FileError::on("start the signer for", &path))?;
        Ok(Self { asks, host })
    }

    /// The host whose key it owns.
    #[must_use]
    pub const fn host(&self) -> HostId {
        self.host
    }

    async fn ask<T>(&self, make: impl FnOnce(Answer<T>) -> Ask) -> Result<T, SignerError> {
        let (answer, reply) = oneshot::channel();
        self.asks.send(make(answer)).map_err(|_| SignerError::Gone)?;
        reply.await.map_err(|_| SignerError::Gone)?
    }

    pub(crate) async fn open(&self, t: Signed<Lease>, now: Micros) -> Result<Lease, SignerError> {
        self.ask(|answer| Ask::Open(t, now, answer)).await
    }

    pub(crate) fn close(&self, lease: LeaseDigest) {
        // A signer that is gone has no lease open.
        let _ = self.asks.send(Ask::Close(lease));
    }

    pub(crate) async fn login(&self, login: Login) -> Result<Signed<Login>, SignerError> {
        self.ask(|answer| Ask::Login(login, answer)).await
    }

    pub(crate) async fn report(&self, receipts: Vec<Receipt>) -> Result<Sealed, SignerError> {
        self.ask(|answer| Ask::Report(receipts, answer)).await
    }

    pub(crate) async fn confirm(&self, report: Report) -> Result<(), SignerError> {
        self.ask(|answer| Ask::Confirm(report, answer)).await
    }

    pub(crate) async fn sign_again(
        &self,
        reports: Vec<Signed<Report>>,
        from: Chain,
    ) -> Result<Vec<Resigned>, SignerError> {
        self.ask(|answer| Ask::Again(reports, from, answer)).await
    }
}

struct State {
    pair: Keypair,
    scope: Scope,
    chain: Chain,
    open: HashMap<LeaseDigest, (Lease, Signed<Lease>)>,
}

impl State {
    fn handle(&mut self, ask: Ask) {
        // A caller that went away needs no answer.
        match ask {
            Ask::Open(token, now, answer) => drop(answer.send(self.open(token, now))),
            Ask::Close(lease) => drop(self.open.remove(&lease)),
            Ask::Login(login, answer) => drop(answer.send(self.login(&login))),
            Ask::Report(receipts, answer) => drop(answer.send(self.seal(&receipts))),
            Ask::Confirm(report, answer) => drop(answer.send(self.confirm(&report))),
            Ask::Again(reports, from, answer) => drop(answer.send(self.again(&reports, from))),
        }
    }

    fn open(&mut self, token: Signed<Lease>, now: Micros) -> Result<Lease, SignerError> {
        let lease = token.open(&Key::from(self.scope.coordinator))?;
        let foreign = |field, rule| Err(SignerError::Foreign { field, rule });
        if lease.network != self.scope.network {
            return foreign("network", "that of the network joined");
        }
        if lease.coordinator != self.scope.coordinator {
            return foreign("coordinator", "the one that signed it");
        }
        if Key::from(lease.host) != self.pair.public() {
            return foreign("host", "this host's key");
        }
        let end = lease.first.0.checked_add(lease.count);
        if !(1..=MAX_LEASE_TASKS).contains(&lease.count) || end.is_none() {
            return foreign("count", "what a lease may hold");
        }
        if lease.expiry <= now {
            return foreign("expiry", "after the coordinator's own time");
        }
        self.open.insert(Lease::digest_of(token.payload()), (lease.clone(), token));
        Ok(lease)
    }

    fn login(&self, login: &Login) -> Result<Signed<Login>, SignerError> {
        if login.audience != Key::from(self.scope.coordinator) {
            return Err(SignerError::Foreign { field: "audience", rule: "the pinned coordinator" });
        }
        Ok(self.pair.sign(login))
    }

    fn seal(&self, receipts: &[Receipt]) -> Result<Sealed, SignerError> {
        let mut tokens: Vec<(LeaseDigest, Signed<Lease>)> = Vec::new();
        let mut epoch = None;
        for receipt in receipts {
            let (lease, token) =
                self.open.get(&receipt.lease).ok_or(SignerError::NotOpen(receipt.lease))?;
            fits(receipt, lease)?;
            if *epoch.get_or_insert(lease.epoch) != lease.epoch {
                return Err(SignerError::Receipt("another epoch than the rest of the report"));
            }
            if !tokens.iter().any(|(digest, _)| *digest == receipt.lease) {
                tokens.push((receipt.lease, token.clone()));
            }
        }
        let encoded: Vec<Vec<u8>> = receipts.iter().map(|receipt| receipt.to_bytes()).collect();
        let leaves: Vec<Digest> = encoded.iter().map(|bytes| merkle::leaf(bytes)).collect();
        let message =
            self.next_report(receipts.len(), merkle::root(&leaves), epoch.unwrap_or(0))?;
        let leases = tokens.into_iter().map(|(_, token)| token).collect();
        Ok(Sealed { report: self.pair.sign(&message), message, leases, receipts: encoded })
    }

    fn next_report(&self, count: usize, root: Digest, epoch: u64) -> Result<Report, SignerError> {
        let many = || SignerError::Receipt("more receipts than a report may hold");
        let count = u32::try_from(count).map_err(|_| many())?;
        Ok(Report {
            format: 1,
            network: self.scope.network.clone(),
            host: HostId::from(self.pair.public()),
            count,
            root,
            sequence: self.chain.next,
            previous: self.chain.previous,
            coordinator: self.scope.coordinator,
            epoch,
        })
    }

    /// Only what this signer signed before is signed again, with nothing but its place changed.
    fn again(
        &mut self,
        reports: &[Signed<Report>],
        from: Chain,
    ) -> Result<Vec<Resigned>, SignerError> {
        let mut chain = from;
        let mut renewed = Vec::with_capacity(reports.len());
        for signed in reports {
            let old = signed.open(&self.pair.public())?;
            let report = Report { sequence: chain.next, previous: chain.previous, ..old };
            chain = Chain::after(&report);
            renewed.push((self.pair.sign(&report), report));
        }
        self.chain = chain;
        write_chain(&self.scope.chain_file, chain)?;
        Ok(renewed)
    }

    fn confirm(&mut self, report: &Report) -> Result<(), SignerError> {
        // The report may be sent whether or not the file can be written: its sequence is used up.
        self.chain = self.chain.max(Chain::after(report));
        Ok(write_chain(&self.scope.chain_file, self.chain)?)
    }
}

fn fits(receipt: &Receipt, lease: &Lease) -> Result<(), SignerError> {
    if !lease.covers(receipt.task) {
        return Err(SignerError::Receipt("its task is not one of the lease's"));
    }
    if receipt.module != lease.module {
        return Err(SignerError::Receipt("its module is not the lease's"));
    }
    if receipt.fuel > lease.limits.fuel {
        return Err(SignerError::Receipt("its fuel is above the lease's limit"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(sequence: u64) -> Report {
        Report {
            format: 1,
            network: Network::new("n").unwrap(),
            host: HostId([1; 32]),
            count: 1,
            root: Digest::ZERO,
            sequence,
            previous: Digest::ZERO,
            coordinator: CoordinatorId([2; 32]),
            epoch: 1,
        }
    }

    fn signer(dir: &std::path::Path, chain: Chain) -> Signer {
        let scope = Scope {
            network: Network::new("n").unwrap(),
            coordinator: CoordinatorId([2; 32]),
            chain_file: dir.join("chain"),
        };
        Signer::spawn(Keypair::from_secret(&[7; 32]), scope, chain).unwrap()
    }

    #[tokio::test]
    async fn chain_moves_only_when_confirmed_and_is_on_disk() {
        let dir = tempfile::tempdir().unwrap();
        let signer = signer(dir.path(), Chain::START);
        let first = signer.report(Vec::new()).await.unwrap().message;
        let again = signer.report(Vec::new()).await.unwrap().message;
        assert_eq!((first.sequence, again.sequence), (0, 0));
        signer.confirm(first.clone()).await.unwrap();
        let second = signer.report(Vec::new()).await.unwrap().message;
        assert_eq!((second.sequence, second.previous), (1, first.digest()));
        assert_eq!(read_chain(&dir.path().join("chain")).unwrap(), Chain::after(&first));
    }

    #[tokio::test]
    async fn older_confirmation_never_moves_the_chain_back() {
        let dir = tempfile::tempdir().unwrap();
        let signer = signer(dir.path(), Chain::after(&report(5)));
        signer.confirm(report(3)).await.unwrap();
        assert_eq!(signer.report(Vec::new()).await.unwrap().message.sequence, 6);
    }

    #[tokio::test]
    async fn reports_are_signed_again_for_another_place_and_only_own_ones() {
        let dir = tempfile::tempdir().unwrap();
        let signer = signer(dir.path(), Chain::after(&report(5)));
        let sealed = signer.report(Vec::new()).await.unwrap();
        signer.confirm(sealed.message.clone()).await.unwrap();
        let from = Chain { next: 3, previous: Digest::of(b"third") };
        let renewed = signer.sign_again(vec![sealed.report], from).await.unwrap();
        let (signed, again) = &renewed[0];
        assert_eq!(
            (again.sequence, again.previous, again.root),
            (3, from.previous, sealed.message.root)
        );
        assert_eq!(signed.open(signed.signer()).unwrap(), *again);
        assert_eq!(signer.report(Vec::new()).await.unwrap().message.sequence, 4);
        assert_eq!(read_chain(&dir.path().join("chain")).unwrap(), Chain::after(again));
        let foreign = Keypair::from_secret(&[8; 32]).sign(&report(9));
        assert!(signer.sign_again(vec![foreign], from).await.is_err());
    }

    #[tokio::test]
    async fn login_for_another_audience_is_not_signed() {
        let dir = tempfile::tempdir().unwrap();
        let signer = signer(dir.path(), Chain::START);
        let login = Login {
            format: 1,
            audience: Key([9; 32]),
            origin: tallymill_protocol::cbor::Text("http://x:1".into()),
            purpose: tallymill_protocol::cbor::Text("worker".into()),
            nonce: tallymill_protocol::Nonce([0; 16]),
            expiry: Micros(9),
            signer: Key([1; 32]),
        };
        let error = signer.login(login).await.unwrap_err();
        assert!(matches!(error, SignerError::Foreign { field: "audience", .. }));
    }

    #[test]
    fn damaged_chain_is_an_error_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("chain");
        std::fs::write(&path, "5 nonsense").unwrap();
        assert!(matches!(read_chain(&path), Err(SignerError::Chain(_))));
        assert_eq!(std::fs::read(&path).unwrap(), b"5 nonsense");
    }
}
