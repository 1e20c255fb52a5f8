//! Joining: keys, the owner's account, and a binding that says whose machine this is.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tallymill_protocol::{
    AccountId, AccountStatement, CoordinatorId, Digest, HostBinding, HostId, Key, Keypair,
    MAX_BINDING, Message as _, Micros, Network,
};

use crate::api::{Api, ApiError, number, parsed};
use crate::files::{FileError, now, private_dir, read_if_there, write_whole};
use crate::keys::{KeyError, load, load_or_create};
use crate::signer::{Chain, SignerError, read_chain, write_chain};

/// A binding is renewed when less than this is left of it, µs: a third of its life.
const RENEW: u64 = MAX_BINDING / 3;

/// Why joining failed.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The coordinator.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// A key file.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Another file.
    #[error(transparent)]
    File(#[from] FileError),
    /// The chain of reports.
    #[error(transparent)]
    Chain(#[from] SignerError),
    /// The coordinator changed its key.
    #[error(
        "the coordinator's key is {found}, but this machine joined {pinned}; if that is meant, join with a new state directory"
    )]
    OtherCoordinator {
        /// The pinned one.
        pinned: CoordinatorId,
        /// The one that answers.
        found: CoordinatorId,
    },
    /// Not joined yet.
    #[error("{} is not there: join a coordinator first", .0.display())]
    NotJoined(PathBuf),
    /// The membership file is damaged.
    #[error("{} is damaged; join again", .0.display())]
    Damaged(PathBuf),
}

/// What a machine remembers of the network it joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// Where the coordinator answers.
    pub url: String,
    /// The network.
    pub network: Network,
    /// The coordinator's key, pinned when joining.
    pub coordinator: CoordinatorId,
    /// This machine.
    pub host: HostId,
    /// Who is paid.
    pub owner: AccountId,
    /// Until when the owner's binding holds.
    pub expiry: Micros,
}

/// The membership as it is on disk.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OnDisk {
    version: u32,
    url: String,
    network: String,
    coordinator: String,
    host: String,
    owner: String,
    expiry: String,
}

/// What joining came to.
#[derive(Debug, Clone)]
pub struct Joined {
    /// What is remembered.
    pub membership: Membership,
    /// What others can see of this machine, for its owner to read.
    pub visible: String,
}

pub(crate) fn host_key(state: &Path) -> PathBuf {
    state.join("host.key")
}

pub(crate) fn chain_file(state: &Path) -> PathBuf {
    state.join("chain")
}

fn owner_key(state: &Path) -> PathBuf {
    state.join("owner.key")
}

/// Joins the coordinator at `url`: makes missing keys, publishes the account, binds this machine to it. Over https the
/// authorities in the file `ca` are trusted beside the system's.
///
/// # Errors
/// When a key cannot be used, the coordinator refuses, or it is not the one joined before.
pub async fn join(url: &str, state: &Path, ca: Option<&Path>) -> Result<Joined, JoinError> {
    let api = Api::new(url, ca)?;
    private_dir(state)?;
    let owner = load_or_create(&owner_key(state))?;
    let recovery = load_or_create(&state.join("owner-recovery.key"))?;
    let host = load_or_create(&host_key(state))?;
    let (network, coordinator) = identify(&api, state).await?;
    let statement = AccountStatement {
        format: 1,
        network: network.clone(),
        account: owner.public().into(),
        recovery: Digest::of(recovery.public().as_bytes()),
        issued: now(),
    };
    match api.post_statement("/api/v1/accounts", owner.sign(&statement).to_bytes()).await {
        // The account was published before, which is all that is wanted.
        Ok(_) | Err(ApiError::Refused { status: 409, .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let mut membership = Membership {
        url: url.to_owned(),
        network,
        coordinator,
        host: host.public().into(),
        owner: owner.public().into(),
        expiry: Micros(0),
    };
    membership.bind(&api, &owner, state).await?;
    Ok(Joined { visible: visible(&membership), membership })
}

async fn identify(api: &Api, state: &Path) -> Result<(Network, CoordinatorId), JoinError> {
    let answer = api.network().await?;
    let name = answer["network"].as_str().and_then(Network::new);
    let network = name.ok_or_else(|| ApiError::Answer("it names no network".into()))?;
    let found: CoordinatorId = parsed(&answer, "coordinator")?;
    match Membership::load(state) {
        Ok(before) if before.coordinator != found => {
            Err(JoinError::OtherCoordinator { pinned: before.coordinator, found })
        }
        Ok(_) | Err(JoinError::NotJoined(_)) => Ok((network, found)),
        Err(error) => Err(error),
    }
}

impl Membership {
    fn path(state: &Path) -> PathBuf {
        state.join("membership.json")
    }

    /// What `join` remembered in this state directory.
    ///
    /// # Errors
    /// When nothing was joined or the file is damaged.
    pub fn load(state: &Path) -> Result<Self, JoinError> {
        let path = Self::path(state);
        let bytes = read_if_there(&path)?.ok_or_else(|| JoinError::NotJoined(path.clone()))?;
        let disk: Option<OnDisk> = serde_json::from_slice(&bytes).ok();
        disk.and_then(OnDisk::read).ok_or(JoinError::Damaged(path))
    }

    fn save(&self, state: &Path) -> Result<(), JoinError> {
        let disk = OnDisk {
            version: 1,
            url: self.url.clone(),
            network: self.network.to_string(),
            coordinator: self.coordinator.to_string(),
            host: self.host.to_string(),
            owner: self.owner.to_string(),
            expiry: self.expiry.0.to_string(),
        };
        let text = serde_json::to_vec_pretty(&disk).map_err(|error| FileError {
            action: "write",
            path: Self::path(state),
            source: error.into(),
        })?;
        Ok(write_whole(&Self::path(state), &[&text])?)
    }

    /// Signs a binding for the longest time allowed and has the coordinator take it.
    async fn bind(&mut self, api: &Api, owner: &Keypair, state: &Path) -> Result<(), JoinError> {
        let issued = now();
        let binding = HostBinding {
            format: 1,
            network: self.network.clone(),
            host: self.host,
            owner: self.owner,
            issued,
            expiry: issued.plus(MAX_BINDING),
        };
        let answer = api.post_statement("/api/v1/hosts", owner.sign(&binding).to_bytes()).await?;
        let theirs =
            Chain { next: number(&answer, "sequence")?, previous: parsed(&answer, "last_report")? };
        let ours = read_chain(&chain_file(state)).unwrap_or(Chain::START);
        // Reports that were signed here but not delivered are further on than what the coordinator knows.
        write_chain(&chain_file(state), theirs.max(ours))?;
        self.expiry = binding.expiry;
        self.save(state)
    }

    /// The owner's key that is kept in this state directory; the account's first where none is.
    pub(crate) fn owner_key(&self, state: &Path) -> Result<Key, KeyError> {
        let kept = load(&owner_key(state))?;
        Ok(kept.map_or(self.owner.into(), |pair| pair.public()))
    }

    /// Renews the binding when less than a third of its life is left and the owner's key is here.
    ///
    /// # Errors
    /// When the key cannot be used or the coordinator refuses.
    pub async fn renew_if_due(&mut self, api: &Api, state: &Path) -> Result<bool, JoinError> {
        if self.expiry.since(now()) >= RENEW {
            return Ok(false);
        }
        let Some(owner) = load(&owner_key(state))? else { return Ok(false) };
        self.bind(api, &owner, state).await?;
        Ok(true)
    }
}

impl OnDisk {
    fn read(self) -> Option<Membership> {
        (self.version == 1).then_some(())?;
        Some(Membership {
            url: self.url,
            network: Network::new(&self.network)?,
            coordinator: self.coordinator.parse().ok()?,
            host: self.host.parse().ok()?,
            owner: self.owner.parse().ok()?,
            expiry: Micros(self.expiry.parse().ok()?),
        })
    }
}

fn visible(membership: &Membership) -> String {
    let Membership { network, host, owner, coordinator, .. } = membership;
    format!(
        "This machine joined {network} as host {} of account {}.\n\
         Everybody on the network can see: the host's and the account's keys, which tasks it ran with their fuel and \
         times, whether another host of a task was its neighbour, and the credit it earned.\n\
         The coordinator ({}) also sees: this machine's network address (it keeps 24 bits of it, 48 of IPv6, with work in progress), its number of slots, which modules it keeps, \
         and its owner's acceptance rules.\n\
         Nobody sees: files, processes, names or users of this machine; jobs run without network and without keys.",
        host.short(),
        owner.short(),
        coordinator.short(),
    )
}
