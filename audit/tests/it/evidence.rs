//! The chain of signatures: whole, and broken at each of its links.

use tallymill_audit::{Doubt, Evidence, EvidenceError, check_signatures};
use tallymill_protocol::cbor::List;
use tallymill_protocol::{
    ChainError, Digest, HostId, Interface, JobId, Key, KeyChain, Keypair, LeaseDigest, MIN_SEGMENT,
    Micros, Network, Outcome, Receipt, Rotation, Segment, Steps, TaskIndex,
};

use crate::world::World;

fn doubt(evidence: &Evidence) -> Doubt {
    check_signatures(evidence, None).unwrap_err()
}

#[test]
fn honest_evidence_is_believed_from_either_kind_of_input() {
    for world in [World::range(), World::table()] {
        let evidence = world.evidence();
        let believed = check_signatures(&evidence, Some(world.coordinator.public())).unwrap();
        assert_eq!(
            (believed.receipt, believed.manifest),
            (world.receipts[1].clone(), world.manifest)
        );
    }
}

#[test]
fn a_file_reads_back_and_others_are_refused() {
    let world = World::table();
    let evidence = world.evidence();
    let text = evidence.to_json().unwrap();
    assert_eq!(Evidence::from_json(text.as_bytes()).unwrap(), evidence);
    let blobs = evidence.blobs().unwrap();
    assert_eq!((blobs.module, blobs.input), (world.manifest.module, Some(world.receipts[1].input)));
    assert_eq!(blobs.files.len(), 1);
    assert_eq!(World::range().evidence().blobs().unwrap().input, None);
    let refused = |from: &str, to: &str| {
        Evidence::from_json(text.replacen(from, to, 1).as_bytes()).unwrap_err()
    };
    assert!(matches!(
        refused("\"version\": 1", "\"version\": 2"),
        EvidenceError::Kind { version: 2, .. }
    ));
    assert!(matches!(refused("tallymill-evidence", "other"), EvidenceError::Kind { .. }));
    assert!(refused("\"position\"", "\"extra\": 1, \"position\"").to_string().contains("extra"));
    assert!(matches!(
        Evidence::from_json(&vec![b' '; 2 << 20]),
        Err(EvidenceError::TooLong { .. })
    ));
}

#[test]
fn another_coordinator_than_the_trusted_one_is_named() {
    let world = World::range();
    let trusted = Key([9; 32]);
    let doubt = check_signatures(&world.evidence(), Some(trusted)).unwrap_err();
    assert_eq!(doubt, Doubt::Coordinator { trusted, found: world.coordinator.public() });
}

#[test]
fn signatures_of_others_are_refused() {
    let stranger = || Keypair::from_secret(&[77; 32]);
    let forge: [fn(&mut World, Keypair); 3] = [
        |world, key| world.submitter = key,
        |world, key| world.coordinator = key,
        |world, key| world.host = key,
    ];
    for forge in forge {
        let mut world = World::range();
        forge(&mut world, stranger());
        assert!(matches!(doubt(&world.evidence()), Doubt::Signature(_)));
    }
}

/// The submitter's move from its first key to `next`, signed by `signer`.
fn moved(world: &World, next: &Keypair, signer: &Keypair) -> KeyChain {
    let rotation = Rotation {
        format: 1,
        network: world.manifest.network.clone(),
        account: world.manifest.submitter,
        key: next.public(),
        recovery: Digest::ZERO,
        sequence: 1,
        issued: Micros(1),
    };
    KeyChain { account: None, rotations: List(vec![signer.sign(&rotation)]) }
}

#[test]
fn a_manifest_signed_by_a_later_key_is_believed_with_the_statements_that_lead_to_it() {
    let mut world = World::range();
    let (first, next) = (Keypair::from_secret(&[1; 32]), Keypair::from_secret(&[50; 32]));
    world.submitter = Keypair::from_secret(&[50; 32]);
    let evidence = world.evidence();
    assert!(matches!(doubt(&evidence), Doubt::Signature(_)), "no chain, no belief");
    let whole = evidence.clone().with_keys(moved(&world, &next, &first));
    check_signatures(&whole, None).unwrap();
    let read = Evidence::from_json(whole.to_json().unwrap().as_bytes()).unwrap();
    assert_eq!(read, whole);
    let forged = evidence.with_keys(moved(&world, &next, &next));
    assert!(matches!(doubt(&forged), Doubt::Keys(ChainError::Signer { position: 1, .. })));
}

#[test]
fn a_key_that_was_replaced_before_signs_no_manifest() {
    let world = World::range();
    let (first, next) = (Keypair::from_secret(&[1; 32]), Keypair::from_secret(&[50; 32]));
    let evidence = world.evidence().with_keys(moved(&world, &next, &first));
    assert!(matches!(doubt(&evidence), Doubt::Signature(_)));
}

#[test]
fn a_receipt_changed_after_signing_is_not_under_the_root() {
    let mut evidence = World::range().evidence();
    let last = evidence.receipt.len() - 1;
    evidence.receipt[last] ^= 1;
    assert_eq!(doubt(&evidence), Doubt::Inclusion { position: 1 });
    let mut evidence = World::range().evidence();
    evidence.position = 0;
    assert_eq!(doubt(&evidence), Doubt::Inclusion { position: 0 });
    let mut evidence = World::range().evidence();
    evidence.proof.pop();
    assert_eq!(doubt(&evidence), Doubt::Inclusion { position: 1 });
}

#[test]
fn parts_that_do_not_belong_together_are_named() {
    type Break = fn(&mut World);
    let cases: [(Break, &str); 17] = [
        (|w| w.receipts[1].lease = LeaseDigest([1; 32]), "another lease"),
        (|w| w.receipts[1].task = TaskIndex(3), "one of the lease's"),
        (|w| with_lease(w, |l| l.count = 9, TaskIndex(8)), "one of the job's"),
        (|w| with_lease(w, |l| l.job = JobId([1; 32]), TaskIndex(1)), "another job"),
        (|w| with_lease(w, |l| l.host = HostId([1; 32]), TaskIndex(1)), "another host"),
        (
            |w| with_lease(w, |l| l.payer = tallymill_protocol::AccountId([1; 32]), TaskIndex(1)),
            "another payer",
        ),
        (|w| with_lease(w, |l| l.module = Digest::ZERO, TaskIndex(1)), "another module"),
        (|w| with_lease(w, |l| l.versions.meter += 1, TaskIndex(1)), "different versions"),
        (|w| with_lease(w, |l| l.limits.fuel += 1, TaskIndex(1)), "different limits"),
        (|w| with_lease(w, |l| l.tariff.fuel += 1, TaskIndex(1)), "different tariffs"),
        (
            |w| with_lease(w, |l| l.network = Network::new("other").unwrap(), TaskIndex(1)),
            "different networks",
        ),
        (
            |w| w.report.coordinator = tallymill_protocol::CoordinatorId([1; 32]),
            "another coordinator",
        ),
        (|w| w.report.epoch += 1, "another epoch"),
        (|w| w.report.network = Network::new("other").unwrap(), "different networks"),
        (|w| w.receipts[1].fuel = w.lease.limits.fuel + 1, "fuel is above"),
        (|w| w.receipts[1].peak_memory = w.lease.limits.memory + 1, "memory is above"),
        (|w| w.receipts[1].bytes_out = w.lease.limits.output + 1, "output is above"),
    ];
    for (change, words) in cases {
        let mut world = World::range();
        change(&mut world);
        let doubt = doubt(&world.evidence());
        assert!(
            matches!(&doubt, Doubt::Disagree(text) if text.contains(words)),
            "{words}: {doubt}"
        );
    }
}

/// Changes the lease and lets the receipt name the changed one.
fn with_lease(world: &mut World, change: fn(&mut tallymill_protocol::Lease), task: TaskIndex) {
    change(&mut world.lease);
    world.receipts[1].lease = world.lease.digest();
    world.receipts[1].task = task;
}

#[test]
fn an_input_that_the_submitter_did_not_sign_is_refused() {
    let refused = |world: &World| matches!(doubt(&world.evidence()), Doubt::Input { task: 1, .. });
    for mut world in [World::range(), World::table()] {
        world.receipts[1].input = Digest::of(b"other");
        assert!(refused(&world));
    }
    let mut world = World::table();
    world.receipts[1].bytes_in += 1;
    assert!(refused(&world), "another length");
    let mut world = World::table();
    world.entry = None;
    assert!(refused(&world), "no entry");
    let mut world = World::table();
    world.entry.as_mut().unwrap().entry[0] ^= 1;
    assert!(refused(&world), "an entry that is not under the root");
}

/// The world of a long job, whose receipt is about this segment.
fn in_steps(index: u32, change: impl Fn(&mut Receipt)) -> World {
    let mut world = World::table();
    world.manifest.interface = Interface::Step;
    world.manifest.steps = Some(Steps { budget: 1, segment: MIN_SEGMENT });
    let job = world.manifest.id();
    world.lease.job = job;
    with_lease(&mut world, |_| {}, TaskIndex(1));
    let (before, after, fuel_before, fuel_after) = (Digest::ZERO, Digest::ZERO, 0, 0);
    world.receipts[1].segment = Some(Segment { index, before, after, fuel_before, fuel_after });
    change(&mut world.receipts[1]);
    world
}

#[test]
fn a_later_segment_has_read_its_input_and_more() {
    let told = |index, more: i64| {
        let world = in_steps(index, |receipt| {
            receipt.bytes_in = receipt.bytes_in.checked_add_signed(more).unwrap();
        });
        check_signatures(&world.evidence(), None).is_ok()
    };
    assert_eq!([told(0, 0), told(0, 1)], [true, false], "the first begins with its input alone");
    assert_eq!([told(1, 70_000), told(1, -1)], [true, false]);
}

/// A change to a receipt, and words of what is then said.
type Case = (fn(&mut Receipt), &'static str);

#[test]
fn segments_are_of_long_jobs_alone_and_within_their_limits() {
    let limits = crate::world::limits();
    let longest = tallymill_protocol::snapshot::max_len(&limits);
    check_signatures(
        &in_steps(1, |receipt| {
            (receipt.outcome, receipt.bytes_out) = (Outcome::Paused, longest);
        })
        .evidence(),
        None,
    )
    .unwrap();
    let disagrees = |world: &World| match doubt(&world.evidence()) {
        Doubt::Disagree(text) => text,
        other => panic!("{other}"),
    };
    let cases: [Case; 4] = [
        (|receipt| receipt.segment = None, "where the job is in steps"),
        (
            |receipt| {
                let segment = receipt.segment.as_mut().unwrap();
                segment.fuel_after = crate::world::limits().fuel + 1;
            },
            "the fuel after the segment",
        ),
        (|receipt| receipt.bytes_out = crate::world::limits().output + 1, "output"),
        (
            |receipt| {
                receipt.outcome = Outcome::Paused;
                receipt.bytes_out =
                    tallymill_protocol::snapshot::max_len(&crate::world::limits()) + 1;
            },
            "output",
        ),
    ];
    for (change, words) in cases {
        let text = disagrees(&in_steps(1, change));
        assert!(text.contains(words), "{text}");
    }
    let mut command = World::table();
    command.receipts[1].segment = in_steps(1, |_| {}).receipts[1].segment;
    assert!(disagrees(&command).contains("where the job is in steps"));
}

#[test]
fn evidence_of_a_later_segment_names_the_snapshot_before_it_and_other_evidence_nothing() {
    let evidence = World::range().evidence();
    assert!(!evidence.to_json().unwrap().contains("snapshot"));
    let digest = Digest::of(b"a snapshot");
    let later = evidence.from_snapshot(Some(digest));
    let read = Evidence::from_json(later.to_json().unwrap().as_bytes()).unwrap();
    assert_eq!((read.blobs().unwrap().snapshot, &read), (Some(digest), &later));
}
