//! Collecting: what goes, what stays, and that a process may end after every step.

use std::sync::Arc;

use tallymill_engine::rows::{
    Batch, BlobRow, ChargeRow, HoldKind, HoldRow, JobRow, JobState, PAGE_BYTES, PageRow,
    ReplicaMove, ReplicaRow, ReplicaState, ReportRow, UseRow,
};
use tallymill_engine::{Kept, Retention};
use tallymill_ledger::GrantPolicy;
use tallymill_protocol::cbor::{List, Text};
use tallymill_protocol::{
    Digest, Inputs, Interface, JobId, Keypair, LeaseDigest, Limits, Manifest, Micros, Nonce,
    Policy, Requirements, Tariff, TaskIndex, Versions, Visibility, merkle,
};
use tallymill_storage::{Done, Looked, Order, Page, Store, TransferFilter};

use crate::world::{
    Backend, NOW, Sql, blob, empty, filled, host, host_id, identity, job, job_id, owner, receipt,
    replica, report, segment, signed, task, void,
};

crate::on_all! {
    results_go_step_by_step_and_others_keep_their_evidence, what_is_not_due_stays,
    a_hold_is_seen_and_keeps_results, reports_without_receipts_are_emptied,
    blobs_go_when_no_job_needs_them, a_blob_that_comes_again_is_not_doomed,
    results_that_stand_are_their_payers, an_older_handle_collects_nothing,
}
crate::on! { Sqlite as noted_on_sqlite: jobs_of_before_are_noted_before_blobs_go }
crate::on! { Postgres as noted_on_postgres: jobs_of_before_are_noted_before_blobs_go }

/// Results may go as soon as their job is over.
const AT_ONCE: Retention = Retention { results: Some(0), uploads: 0 };

fn order(n: u8) -> Order {
    Order::Job { job: job_id(n), rule: AT_ONCE, now: NOW.plus(5) }
}

fn over(n: u8) -> JobRow {
    JobRow { finished: Some(NOW), ..job(n, JobState::Finished) }
}

/// The report of host 23 holds a receipt of job 5, one of job 6 that runs, and one that was refused.
fn shared() -> (ReportRow, Vec<ReplicaRow>) {
    let refused = Digest([99; 32]);
    let leaves = vec![merkle::leaf(&receipt(23, 4)), merkle::leaf(&receipt(23, 1)), refused];
    let report = ReportRow { leaves, receipts: 3, ..report(23) };
    let of = |job, task, position| ReplicaRow {
        position,
        state: ReplicaState::Final,
        near: None,
        ..replica(job, task, 23)
    };
    (report, vec![of(5, 4, 0), of(6, 1, 1)])
}

/// Job 5 is over with three results beside those of `everything`, job 6 runs.
fn ended() -> Batch {
    let (report, replicas) = shared();
    let moves = [(0, 21), (1, 20)].map(|(task, host)| ReplicaMove {
        job: job_id(5),
        task: TaskIndex(task),
        segment: 0,
        host: host_id(host),
        state: ReplicaState::Final,
    });
    let need = |digest, job| UseRow { digest: Digest([digest; 32]), job: job_id(job) };
    Batch {
        hosts: vec![host(23, 1)],
        jobs: vec![over(5), job(6, JobState::Running)],
        pages: vec![PageRow { job: job_id(6), page: 0, states: vec![1; PAGE_BYTES] }],
        reports: vec![report],
        replicas,
        moves: moves.to_vec(),
        tasks: vec![task(5, 1, 2), task(6, 1, 3)],
        segments: vec![segment(6, 3, 0)],
        voids: vec![void(2, 6, 2), void(3, 5, 2)],
        uses: vec![need(1, 5), need(1, 6), need(2, 5)],
        ..empty(2)
    }
}

async fn with_jobs(backend: &impl Backend) -> Arc<dyn Store> {
    let store = filled(backend).await;
    store.commit(&ended()).await.unwrap();
    store
}

/// Everything about money and the log, as text.
async fn books(store: &dyn Store) -> String {
    let transfers = store.transfers(TransferFilter::All, Page::first(99)).await.unwrap();
    let snapshot = store.load().await.unwrap();
    let issuer = identity().coordinator;
    let amount = tallymill_ledger::Amount::new(1_000);
    let policy = GrantPolicy { issuer, per_account: amount, total: amount };
    let audit = store.audit_ledger(policy).await.unwrap();
    format!("{transfers:?} {:?} {:?} {audit:?}", snapshot.balances, snapshot.counters)
}

async fn results_go_step_by_step_and_others_keep_their_evidence(backend: impl Backend) {
    let store = with_jobs(&backend).await;
    let before = books(&*store).await;
    let kept = store.report(Digest([23; 32])).await.unwrap().unwrap();
    drop(store);
    let mut steps = 0;
    loop {
        // A process that ends after each step.
        let store = backend.open().await;
        let done = store.collect(&order(5), 1).await.unwrap();
        assert_eq!(books(&*store).await, before, "after step {steps}");
        let other = store.report(Digest([23; 32])).await.unwrap().unwrap();
        assert_eq!((&other.leaves, &other.leases), (&kept.leaves, &kept.leases));
        assert_eq!(store.replicas(job_id(6), TaskIndex(1)).await.unwrap(), [shared().1.remove(1)]);
        let begun = store.job(job_id(5)).await.unwrap().unwrap().collecting;
        assert_eq!(begun, Some(NOW.plus(5)));
        if done == Done::Nothing {
            break;
        }
        assert_eq!(done, Done::Rows(1), "step {steps}");
        let going = store.collecting(Page::first(9)).await.unwrap();
        assert_eq!(going.iter().map(|job| job.number).collect::<Vec<_>>(), [5]);
        steps += 1;
    }
    // To begin, two decisions, four results, three segments, two void runs, a page, two needs.
    assert_eq!(steps, 1 + 2 + 4 + 3 + 2 + 1 + 2);
    all_of_job_5_has_gone(&*backend.open().await).await;
}

async fn all_of_job_5_has_gone(store: &dyn Store) {
    let five = job_id(5);
    assert!(store.decided(five, Page::first(9)).await.unwrap().is_empty());
    for task in [0, 1, 4] {
        assert!(store.replicas(five, TaskIndex(task)).await.unwrap().is_empty());
    }
    assert!(store.segments(five, TaskIndex(3), Page::first(9)).await.unwrap().is_empty());
    assert!(store.voids(five, TaskIndex(2), Page::first(9)).await.unwrap().is_empty());
    assert!(store.pages(five, Page::first(9)).await.unwrap().is_empty());
    for root in [20, 21] {
        let root = Digest([root; 32]);
        assert_eq!(store.report(root).await.unwrap(), None);
        let answer = store.verdicts(root).await.unwrap();
        assert_eq!(answer, Some((host_id(root.0[0]), vec![1, 2])), "it is answered as before");
        assert_eq!(store.lease_token(LeaseDigest(root.0)).await.unwrap(), None);
    }
    let token = store.lease_token(LeaseDigest([77; 32])).await.unwrap();
    assert_eq!(token, Some(signed(77)), "other reports name it");
    let leaves = store.receipts(Digest([23; 32]), Page::first(9)).await.unwrap();
    assert_eq!(leaves.iter().map(|leaf| leaf.position).collect::<Vec<_>>(), [1]);
    let row = store.job(five).await.unwrap().unwrap();
    assert_eq!(row, JobRow { collecting: Some(NOW.plus(5)), ..over(5) }, "with its totals");
    assert!(store.collecting(Page::first(9)).await.unwrap().is_empty());
    assert!(store.ended(NOW, Page::first(9)).await.unwrap().is_empty());
    // A report under a root of before is no new one.
    let again = Batch { reports: vec![ReportRow { log_index: 99, ..report(20) }], ..empty(3) };
    crate::world::is_conflict(store.commit(&again).await, "report");
}

async fn what_is_not_due_stays(backend: impl Backend) {
    let store = with_jobs(&backend).await;
    let ask = async |rule, number| {
        let order = Order::Job { job: job_id(number), rule, now: NOW.plus(5) };
        store.collect(&order, 9).await.unwrap()
    };
    assert_eq!(ask(AT_ONCE, 6).await, Done::Kept(Kept::Live));
    assert_eq!(ask(Retention::default(), 5).await, Done::Kept(Kept::Forever));
    let later = Retention { results: Some(6), uploads: 0 };
    assert_eq!(ask(later, 5).await, Done::Kept(Kept::Until(NOW.plus(6))));
    assert_eq!(ask(AT_ONCE, 77).await, Done::Nothing);
    let provisional = JobRow { provisional_tasks: 1, ..over(5) };
    store.commit(&Batch { jobs: vec![provisional], ..empty(3) }).await.unwrap();
    assert_eq!(ask(AT_ONCE, 5).await, Done::Kept(Kept::Provisional));
    let waits = ReplicaRow { position: 7, ..replica(5, 9, 20) };
    store.commit(&Batch { jobs: vec![over(5)], replicas: vec![waits], ..empty(4) }).await.unwrap();
    assert_eq!(ask(AT_ONCE, 5).await, Done::Kept(Kept::Undecided));
    assert_eq!(store.decided(job_id(5), Page::first(9)).await.unwrap().len(), 2);
    let ended = store.ended(NOW, Page::first(9)).await.unwrap();
    assert_eq!(ended, [over(5)]);
    assert!(store.ended(Micros(NOW.0 - 1), Page::first(9)).await.unwrap().is_empty());
    assert!(store.ended(NOW, Page::after((NOW, 5), 9)).await.unwrap().is_empty());
}

fn hold(kind: HoldKind, reason: &str) -> HoldRow {
    HoldRow { job: job_id(5), kind, account: owner(1), reason: reason.to_owned(), at: NOW }
}

async fn a_hold_is_seen_and_keeps_results(backend: impl Backend) {
    let store = with_jobs(&backend).await;
    let holds = vec![hold(HoldKind::Payer, "first"), hold(HoldKind::Operator, "dispute")];
    store.commit(&Batch { holds, ..empty(3) }).await.unwrap();
    let holds = vec![hold(HoldKind::Payer, "paper")];
    store.commit(&Batch { holds, ..empty(4) }).await.unwrap();
    let found = store.holds(job_id(5)).await.unwrap();
    assert_eq!(found, [hold(HoldKind::Operator, "dispute"), hold(HoldKind::Payer, "paper")]);
    // A job that is written again has its hold.
    store.commit(&Batch { jobs: vec![over(5)], ..empty(5) }).await.unwrap();
    assert!(store.job(job_id(5)).await.unwrap().unwrap().held);
    assert_eq!(store.collect(&order(5), 9).await.unwrap(), Done::Kept(Kept::Held));
    let released = vec![(job_id(5), HoldKind::Operator)];
    store.commit(&Batch { released, ..empty(6) }).await.unwrap();
    assert_eq!(store.collect(&order(5), 9).await.unwrap(), Done::Kept(Kept::Held));
    let released = vec![(job_id(5), HoldKind::Payer)];
    store.commit(&Batch { released, ..empty(7) }).await.unwrap();
    assert!(!store.job(job_id(5)).await.unwrap().unwrap().held);
    assert_eq!(store.collect(&order(5), 9).await.unwrap(), Done::Rows(1));
}

async fn reports_without_receipts_are_emptied(backend: impl Backend) {
    let store = with_jobs(&backend).await;
    let looked = |key, goes| Looked { key, goes };
    let found = store.lone_reports(NOW, Page::first(9)).await.unwrap();
    let expected = [looked(20, false), looked(21, false), looked(22, true), looked(23, false)];
    assert_eq!(found, expected);
    assert!(store.lone_reports(Micros(NOW.0 - 1), Page::first(9)).await.unwrap().is_empty());
    assert_eq!(store.lone_reports(NOW, Page::after(22, 9)).await.unwrap(), [looked(23, false)]);
    let order = Order::Reports(vec![20, 22]);
    assert_eq!(store.collect(&order, 9).await.unwrap(), Done::Rows(1), "20 has receipts");
    assert_eq!(store.collect(&order, 9).await.unwrap(), Done::Rows(0));
    assert_eq!(store.report(Digest([22; 32])).await.unwrap(), None);
    assert_eq!(store.report_of(host_id(22), 0).await.unwrap(), None);
    assert_eq!(store.report(Digest([20; 32])).await.unwrap(), Some(report(20)));
    assert_eq!(store.lease_token(LeaseDigest([22; 32])).await.unwrap(), None);
    assert!(store.lease_token(LeaseDigest([77; 32])).await.unwrap().is_some());
}

fn doom(numbers: &[u8], before: Micros) -> Order {
    Order::Doom { digests: numbers.iter().map(|n| Digest([*n; 32])).collect(), before }
}

async fn blobs_go_when_no_job_needs_them(backend: impl Backend) {
    let store = with_jobs(&backend).await;
    let late = BlobRow { at: NOW.plus(9), ..blob(3) };
    store.commit(&Batch { blobs: vec![late, blob(4)], ..empty(3) }).await.unwrap();
    let looked = |key, goes| Looked { key: Digest([key; 32]), goes };
    let found = store.idle_blobs(NOW, Page::first(9)).await.unwrap();
    let expected = [looked(1, false), looked(2, false), looked(3, false), looked(4, true)];
    assert_eq!(found, expected);
    let after = store.idle_blobs(NOW, Page::after(Digest([3; 32]), 9)).await.unwrap();
    assert_eq!(after, [looked(4, true)]);
    assert_eq!(store.blob_bytes(owner(1)).await.unwrap(), 4_000);
    let all = doom(&[1, 2, 3, 4, 9], NOW);
    assert_eq!(store.collect(&all, 9).await.unwrap(), Done::Doomed(vec![blob(4)]));
    while store.collect(&order(5), 9).await.unwrap() != Done::Nothing {}
    assert_eq!(store.collect(&all, 9).await.unwrap(), Done::Doomed(vec![blob(2)]), "1 is job 6's");
    assert_eq!(store.blob_bytes(owner(1)).await.unwrap(), 2_000, "room is given back");
    drop(store);
    let store = backend.open().await;
    assert_eq!(store.doomed(Page::first(9)).await.unwrap(), [Digest([2; 32]), Digest([4; 32])]);
    let after = Page::after(Digest([2; 32]), 9);
    assert_eq!(store.doomed(after).await.unwrap(), [Digest([4; 32])]);
    let bury = Order::Bury(vec![Digest([2; 32])]);
    assert_eq!(store.collect(&bury, 9).await.unwrap(), Done::Rows(1));
    assert_eq!(store.doomed(Page::first(9)).await.unwrap(), [Digest([4; 32])]);
}

async fn a_blob_that_comes_again_is_not_doomed(backend: impl Backend) {
    let store = with_jobs(&backend).await;
    // Twice in one batch, by two accounts: the first one's, and uploaded now.
    let again = [7, 9].map(|at| BlobRow { at: NOW.plus(at), account: owner(2), ..blob(4) });
    store.commit(&Batch { blobs: vec![blob(4)], ..empty(3) }).await.unwrap();
    store.commit(&Batch { blobs: again.to_vec(), ..empty(4) }).await.unwrap();
    assert_eq!(store.blob(Digest([4; 32])).await.unwrap(), Some(blob(4)));
    let early = doom(&[4], NOW.plus(8));
    assert_eq!(store.collect(&early, 9).await.unwrap(), Done::Doomed(Vec::new()));
    let late = doom(&[4], NOW.plus(9));
    assert_eq!(store.collect(&late, 9).await.unwrap(), Done::Doomed(vec![blob(4)]));
    store.commit(&Batch { blobs: vec![blob(4)], ..empty(5) }).await.unwrap();
    assert!(store.doomed(Page::first(9)).await.unwrap().is_empty());
}

async fn results_that_stand_are_their_payers(backend: impl Backend) {
    let store = with_jobs(&backend).await;
    let charge =
        |digest, from| ChargeRow { digest: Digest([digest; 32]), from: owner(from), to: owner(8) };
    let charges = vec![charge(1, 1), charge(1, 3), charge(2, 3), charge(9, 1)];
    store.commit(&Batch { charges, ..empty(3) }).await.unwrap();
    let now = [owner(8), owner(1)].map(async |account| store.blob_bytes(account).await.unwrap());
    let [theirs, ours] = now;
    assert_eq!((theirs.await, ours.await), (1_000, 1_000));
}

async fn an_older_handle_collects_nothing(backend: impl Backend) {
    let old = with_jobs(&backend).await;
    let new = backend.open().await;
    let refused = old.collect(&order(5), 9).await.unwrap_err().to_string();
    assert!(refused.contains("belong to another owner"), "{refused}");
    assert_eq!(new.job(job_id(5)).await.unwrap().unwrap().collecting, None);
}

fn manifest() -> Manifest {
    Manifest {
        format: 1,
        network: identity().network,
        coordinators: List(vec![identity().coordinator]),
        delegates: List::default(),
        nonce: Nonce([0; 16]),
        payer: owner(1),
        submitter: owner(1),
        module: Digest([31; 32]),
        versions: Versions { meter: 1, costs: Digest::ZERO, profile: 1 },
        inputs: Inputs::Table { root: Digest::ZERO, count: 1, blob: Digest([32; 32]) },
        limits: Limits::default(),
        seed: [0; 32],
        argv: List::default(),
        environment: List::default(),
        files: List::default(),
        policy: Policy::Trusted,
        tariff: Tariff::default(),
        budget: 1,
        deadline: NOW,
        priority: 0,
        tags: List::default(),
        visibility: Visibility::Public,
        requirements: Requirements::default(),
        title: Text(String::new()),
        interface: Interface::Command,
        steps: None,
    }
}

/// As after a migration: of jobs of before it is not known what they need.
async fn jobs_of_before_are_noted_before_blobs_go<W: Sql>(world: W) {
    let store = filled(&world).await;
    let pair = Keypair::from_secret(&[3; 32]);
    let envelope = pair.sign(&manifest()).envelope().clone();
    let id: JobId = Manifest::id_of(&envelope.payload.0);
    let before = JobRow { id, envelope, number: 9, ..over(9) };
    let replicas = (0..3).map(|task| ReplicaRow {
        job: id,
        output: None,
        position: task + 10,
        ..replica(9, task, 20)
    });
    let batch = Batch {
        jobs: vec![before],
        replicas: replicas.collect(),
        blobs: vec![blob(20), blob(31), blob(32), blob(33)],
        ..empty(2)
    };
    store.commit(&batch).await.unwrap();
    world.change("UPDATE job SET noted = FALSE WHERE number = 9").await;
    let all = doom(&[20, 31, 32, 33], NOW);
    assert_eq!(store.collect(&all, 9).await.unwrap(), Done::Doomed(Vec::new()));
    let (mut after, mut steps) = (None, Vec::new());
    loop {
        match store.collect(&Order::Note { after }, 2).await.unwrap() {
            Done::Noted(job, task) => {
                steps.push(task.0);
                after = Some((job, task));
            }
            Done::Rows(1) => {}
            done => break assert_eq!(done, Done::Nothing),
        }
    }
    assert_eq!(steps, [1, 2]);
    // Receipts of host 20 name output and log of that digest.
    let doomed = store.collect(&all, 9).await.unwrap();
    assert_eq!(doomed, Done::Doomed(vec![blob(33)]));
}
