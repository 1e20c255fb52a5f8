//! The chore over a store in memory and blobs in a folder, which may end after every step.

use futures_util::stream;
use tallymill_engine::rows::{Batch, BlobRow, Identity};
use tallymill_protocol::{AccountId, CoordinatorId, Network};
use tallymill_storage::{Blobs as _, Collection as _, Commits as _, MemoryStore};

use super::*;
use crate::blobs::Reader;

const NOW: Micros = Micros(1_000);
/// Blobs go when they are ten microseconds old.
const RULE: Retention = Retention { results: None, uploads: 10 };

struct World {
    store: Arc<MemoryStore>,
    folder: tempfile::TempDir,
    blobs: Arc<BlobStore>,
    claims: Claims,
}

fn identity() -> Identity {
    Identity { network: Network::new("test").unwrap(), coordinator: CoordinatorId([9; 32]) }
}

impl World {
    /// Two blobs, uploaded at 1 and at 995.
    async fn new() -> (Self, [Digest; 2]) {
        let folder = tempfile::tempdir().unwrap();
        let blobs = BlobStore::open(&folder.path().join("blobs"), 99).await.unwrap();
        let store = Arc::new(MemoryStore::new(&identity()));
        let world = Self { store, folder, blobs: Arc::new(blobs), claims: Claims::default() };
        let rows = [world.put(b"old", 1).await, world.put(b"new", 995).await];
        let digests = rows.each_ref().map(|row| row.digest);
        let batch = Batch { sequence: 1, now: NOW, blobs: rows.to_vec(), ..Batch::default() };
        world.store.commit(&batch).await.unwrap();
        (world, digests)
    }

    async fn put(&self, bytes: &'static [u8], at: u64) -> BlobRow {
        let digest = Digest::of(bytes);
        let body = stream::iter([Ok::<_, String>(bytes::Bytes::from_static(bytes))]);
        let length = self.blobs.put(digest, body).await.unwrap();
        self.blobs.share(digest, Reader::Everybody).await.unwrap();
        BlobRow { digest, length, account: AccountId([1; 32]), at: Micros(at) }
    }

    /// The process ends, and another one begins on what it left.
    async fn restart(&mut self) -> Collector {
        self.store = Arc::new(self.store.reopen(&identity()).unwrap());
        self.claims = Claims::default();
        self.collector().await
    }

    async fn collector(&self) -> Collector {
        let store: Arc<dyn Store> = Arc::<MemoryStore>::clone(&self.store);
        let rule = (RULE, self.folder.path().to_owned());
        let (blobs, claims) = (Arc::clone(&self.blobs), self.claims.clone());
        Collector::open(store, blobs, claims, rule, false).await.unwrap()
    }

    /// Whether the bytes of a blob are there, and whether its row is.
    async fn has(&self, digest: Digest) -> [bool; 2] {
        let bytes = self.blobs.length(digest).await.unwrap().is_some();
        [bytes, self.store.blob(digest).await.unwrap().is_some()]
    }

    /// What a whole pass takes away.
    async fn pass(collector: &mut Collector) -> Progress {
        let mut sum = Progress::default();
        while let Some(done) = collector.step(NOW).await.unwrap() {
            sum.blobs += done.blobs;
            sum.bytes += done.bytes;
        }
        sum
    }
}

#[tokio::test]
async fn old_blobs_that_no_job_names_go_and_others_stay() {
    let (world, [old, new]) = World::new().await;
    let mut collector = world.collector().await;
    let gone = Progress { blobs: 1, bytes: 3, ..Progress::default() };
    assert_eq!(World::pass(&mut collector).await, gone);
    assert_eq!((world.has(old).await, world.has(new).await), ([false; 2], [true; 2]));
    assert!(!world.blobs.shared(old, Reader::Everybody).await.unwrap());
    assert_eq!(World::pass(&mut collector).await, Progress::default());
    assert!(world.claims.seize(old).is_some(), "it may come again");
}

#[tokio::test]
async fn a_process_that_ends_between_row_and_bytes_is_followed_by_one_that_removes_them() {
    let (mut world, [old, _]) = World::new().await;
    let mut collector = world.collector().await;
    collector.doom(vec![old], NOW).await.unwrap();
    assert_eq!(world.has(old).await, [true, false]);
    drop(collector);
    let mut collector = world.restart().await;
    assert!(world.claims.seize(old).is_none(), "nobody relies on it before it is gone");
    World::pass(&mut collector).await;
    assert_eq!(world.has(old).await, [false; 2]);
    assert!(world.store.doomed(Page::first(9)).await.unwrap().is_empty());
    assert!(world.claims.seize(old).is_some());
    // Removed, but the process ended before that was noted.
    let mut collector = world.collector().await;
    let again = Batch {
        sequence: 2,
        now: NOW,
        blobs: vec![world.put(b"old", 1).await],
        ..Batch::default()
    };
    world.store.commit(&again).await.unwrap();
    collector.doom(vec![old], NOW).await.unwrap();
    world.blobs.remove(&[old]).await.unwrap();
    drop(collector);
    let mut collector = world.restart().await;
    World::pass(&mut collector).await;
    assert!(world.store.doomed(Page::first(9)).await.unwrap().is_empty());
}

#[tokio::test]
async fn what_somebody_relies_on_stays() {
    let (world, [old, _]) = World::new().await;
    let mut collector = world.collector().await;
    let claimed = world.claims.claim(old).await.unwrap();
    assert_eq!(World::pass(&mut collector).await, Progress::default());
    assert_eq!(world.has(old).await, [true; 2]);
    drop(claimed);
    assert_eq!(World::pass(&mut collector).await.blobs, 1);
}

#[tokio::test]
async fn while_a_backup_is_made_all_blobs_stay() {
    let (world, [old, _]) = World::new().await;
    let mut collector = world.collector().await;
    let turns = [0, 1].map(|_| turn::to_copy(world.folder.path()).unwrap());
    assert_eq!(World::pass(&mut collector).await, Progress::default());
    assert_eq!(world.has(old).await, [true; 2]);
    drop(turns);
    assert_eq!(World::pass(&mut collector).await.blobs, 1);
}

#[tokio::test]
async fn bytes_that_cannot_be_removed_are_nobodys_until_they_are() {
    let (world, [old, _]) = World::new().await;
    let mut collector = world.collector().await;
    // A folder stands where the file was.
    let path = world.folder.path().join("blobs").join(old.to_string());
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    let failed = loop {
        match collector.step(NOW).await {
            Ok(Some(_)) => {}
            other => break other,
        }
    };
    assert!(matches!(failed, Err(CollectorError::Blobs(_))), "{failed:?}");
    assert!(world.claims.seize(old).is_none());
    assert!(collector.step(NOW).await.is_err(), "it is tried first");
    std::fs::remove_dir(&path).unwrap();
    World::pass(&mut collector).await;
    assert!(world.claims.seize(old).is_some());
    assert!(world.store.doomed(Page::first(9)).await.unwrap().is_empty());
}

#[test]
fn steps_grow_while_they_are_short_and_shrink_when_they_are_long() {
    let millis = Duration::from_millis;
    assert_eq!(Portion(256).after(millis(1)), Portion(512));
    assert_eq!(Portion(256).after(millis(20)), Portion(256));
    assert_eq!(Portion(256).after(millis(41)), Portion(128));
    assert_eq!(Portion(4_096).after(millis(1)), Portion(4_096));
    assert_eq!(Portion(16).after(millis(99)), Portion(16));
}

#[test]
fn passes_come_in_a_tenth_of_what_is_kept_shortest() {
    let rule = |results, uploads| Retention { results, uploads: uploads * Micros::SECOND };
    assert_eq!(between(&rule(None, 100)), Duration::from_secs(10));
    assert_eq!(between(&rule(Some(20 * Micros::SECOND), 100)), Duration::from_secs(2));
    assert_eq!(between(&rule(Some(0), 100)), Duration::from_secs(1));
    assert_eq!(between(&Retention::default()), Duration::from_secs(600));
}

#[tokio::test]
async fn where_others_may_serve_with_the_same_blobs_all_of_them_stay() {
    let (world, [old, _]) = World::new().await;
    let store: Arc<dyn Store> = Arc::<MemoryStore>::clone(&world.store);
    let rule = (RULE, world.folder.path().to_owned());
    let (blobs, claims) = (Arc::clone(&world.blobs), world.claims.clone());
    let mut collector = Collector::open(store, blobs, claims, rule, true).await.unwrap();
    assert_eq!(World::pass(&mut collector).await, Progress::default());
    assert_eq!(world.has(old).await, [true; 2]);
}
