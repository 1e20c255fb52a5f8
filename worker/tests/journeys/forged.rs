//! Whose job it is: a coordinator that lies about it gets nothing run.

use tallymill_protocol::cbor::List;
use tallymill_protocol::work::VoidCause;
use tallymill_protocol::{AccountId, Digest, Key, KeyChain, Keypair, Micros, Rotation, Signed};
use tallymill_worker::{Membership, Strangers};

use crate::fake::network;
use crate::world::World;

fn pair(number: u8) -> Keypair {
    Keypair::from_secret(&[number; 32])
}

/// The account's first rotation, to this key.
fn rotation(account: AccountId, to: &Keypair, by: &Keypair) -> Signed<Rotation> {
    by.sign(&Rotation {
        format: 1,
        network: network(),
        account,
        key: to.public(),
        recovery: Digest::of(b"another"),
        sequence: 1,
        issued: Micros(1),
    })
}

fn chain(rotation: Signed<Rotation>) -> KeyChain {
    KeyChain { account: None, rotations: List(vec![rotation]) }
}

fn owner(world: &World) -> AccountId {
    Membership::load(world.state()).unwrap().owner
}

/// Fails unless the leased task is void for want of the submitter's signature.
async fn is_not_believed(mut world: World, why: &str) {
    world.fake.grant_range(1);
    world.start().await;
    world.until(|status| status.voids == 1).await;
    world.finish().await;
    let fake = world.fake.lock();
    assert!(fake.receipts.is_empty());
    assert_eq!(fake.voids[0].cause, VoidCause::Unavailable as u8);
    assert!(fake.voids[0].detail.0.contains(why), "{}", fake.voids[0].detail.0);
}

const STRANGE: &str = "not signed by a key of its submitter";

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_only_says_it_is_the_owners_does_not_run() {
    let mut world = World::joined().await;
    world.options.strangers = Strangers::Refused("no lock".into());
    world.fake.lock().submitter = Some(owner(&world));
    is_not_believed(world, STRANGE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_in_the_name_of_another_account_does_not_run() {
    let world = World::joined().await;
    world.fake.lock().submitter = Some(pair(9).public().into());
    is_not_believed(world, STRANGE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_of_keys_that_its_own_end_signed_leads_nowhere() {
    let world = World::joined().await;
    let account = pair(9).public().into();
    {
        let mut fake = world.fake.lock();
        fake.submitter = Some(account);
        fake.keys = chain(rotation(account, &fake.signer, &fake.signer));
    }
    is_not_believed(world, "neither the key before it nor the recovery key").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_submitter_may_have_moved_to_another_key() {
    let mut world = World::joined().await;
    let account = pair(9).public().into();
    {
        let mut fake = world.fake.lock();
        fake.submitter = Some(account);
        fake.keys = chain(rotation(account, &fake.signer, &pair(9)));
    }
    world.fake.grant_range(2);
    world.start().await;
    world.until(|status| status.credited == 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_owner_is_believed_with_the_key_that_is_kept_here_and_those_after_it() {
    let mut world = World::joined().await;
    world.options.strangers = Strangers::Refused("no lock".into());
    let account = owner(&world);
    let file = world.state().join("owner.key");
    let secret = std::fs::read_to_string(&file).unwrap().trim().parse::<Key>().unwrap();
    let first = Keypair::from_secret(&secret.0);
    {
        let mut fake = world.fake.lock();
        fake.submitter = Some(account);
        fake.keys = chain(rotation(account, &fake.signer, &first));
    }
    world.fake.grant_range(2);
    world.start().await;
    world.until(|status| status.credited == 2).await;
    world.kill().await;
    // The key that was moved away from may be in others' hands.
    std::fs::write(&file, format!("{}\n", Key([2; 32]))).unwrap();
    {
        let mut fake = world.fake.lock();
        fake.receipts.clear();
        fake.signer = first;
    }
    is_not_believed(world, STRANGE).await;
}
