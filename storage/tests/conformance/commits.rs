//! Commits: all or nothing, in order, by the owner of the shards; and what a start reads back.

use tallymill_engine::rows::{
    Batch, Counters, Identity, JobRow, JobState, ReplicaMove, ReplicaRow, ReplicaState, Snapshot,
    SuspensionKind,
};
use tallymill_protocol::{CoordinatorId, Micros, Network, TaskIndex};
use tallymill_storage::{CommitError, LoadError, ONCE_TERM, OpenError, Store};

use crate::world::{
    Backend, NOW, account, empty, escrow, everything, filled, host_id, identity, is_conflict, job,
    job_id, lease, once, pending, replica, report, segment, suspension,
};

crate::on_all! {
    an_empty_store_loads, a_start_reads_back_what_was_committed, reopening_gives_the_same_state,
    finished_jobs_are_not_loaded, an_older_handle_is_fenced, batches_come_in_order,
    a_refused_batch_leaves_nothing, keys_are_unique, unknown_replicas_cannot_move,
    upserts_replace_rows, a_job_is_not_taken_twice, segments_have_results_of_their_own, an_idempotency_key_expires, another_coordinator_is_refused, many_rows_fit,
}

/// A snapshot without its epoch, as text: every field is compared.
fn shown(snapshot: &Snapshot) -> String {
    format!("{:#?}", Snapshot { epoch: 0, ..snapshot.clone() })
}

async fn loaded(store: &dyn Store) -> Snapshot {
    store.load().await.unwrap()
}

async fn an_empty_store_loads(backend: impl Backend) {
    let snapshot = loaded(&*backend.open().await).await;
    assert!(snapshot.epoch > 0);
    assert_eq!(shown(&snapshot), shown(&Snapshot::default()));
}

async fn a_start_reads_back_what_was_committed(backend: impl Backend) {
    let snapshot = loaded(&*filled(&backend).await).await;
    let batch = everything();
    let counters = Counters { job: 5, task: 1, transfer: 3, void: 1, admin: 1, key: 1, log: 22 };
    assert_eq!((snapshot.sequence, snapshot.now, snapshot.counters), (1, NOW, counters));
    assert_eq!(snapshot.accounts, batch.accounts);
    assert_eq!(snapshot.hosts, batch.hosts);
    assert_eq!(snapshot.jobs, batch.jobs);
    assert_eq!(snapshot.pages, batch.pages);
    assert_eq!(snapshot.leases, [lease(20, 5)]);
    assert_eq!(snapshot.replicas, [replica(5, 0, 21), replica(5, 1, 20)]);
    assert_eq!(snapshot.segments, [segment(5, 3, 1)], "the last one, of tasks that are open");
    assert_eq!(snapshot.voids, batch.voids);
    assert_eq!(snapshot.paid, [(job_id(5), host_id(20))]);
    let mut balances = batch.balances;
    balances.sort_by_key(|row| row.account.id());
    assert_eq!(snapshot.balances, balances);
    assert_eq!(snapshot.suspensions, [suspension(SuspensionKind::Module)]);
    assert_eq!(snapshot.once, batch.once);
}

async fn reopening_gives_the_same_state(backend: impl Backend) {
    let store = filled(&backend).await;
    let before = loaded(&*store).await;
    drop(store);
    let after = loaded(&*backend.open().await).await;
    assert_eq!(after.epoch, before.epoch + 1);
    assert_eq!(shown(&after), shown(&before));
}

async fn a_job_is_not_taken_twice(backend: impl Backend) {
    let store = filled(&backend).await;
    let over = job(5, JobState::Finished);
    store.commit(&Batch { jobs: vec![over.clone()], ..empty(2) }).await.unwrap();
    let again = JobRow { number: over.number + 100, ..job(5, JobState::Running) };
    is_conflict(store.commit(&Batch { jobs: vec![again], ..empty(3) }).await, "job");
    assert_eq!(store.job(job_id(5)).await.unwrap(), Some(over));
}

async fn finished_jobs_are_not_loaded(backend: impl Backend) {
    let store = filled(&backend).await;
    let jobs = vec![job(5, JobState::Finished), job(6, JobState::Stopping)];
    store.commit(&Batch { jobs, ..empty(2) }).await.unwrap();
    let snapshot = loaded(&*store).await;
    assert_eq!(snapshot.jobs, [job(6, JobState::Stopping)]);
    assert!(snapshot.pages.is_empty() && snapshot.replicas.is_empty());
    assert!(snapshot.segments.is_empty());
    assert!(snapshot.voids.is_empty() && snapshot.paid.is_empty());
    let accounts: Vec<_> = snapshot.balances.iter().map(|row| row.account).collect();
    assert!(accounts.contains(&pending(5, 20)), "credit that is left stays visible");
    assert!(!accounts.contains(&escrow(5)), "an empty escrow of a finished job is not read");
}

async fn an_older_handle_is_fenced(backend: impl Backend) {
    let old = filled(&backend).await;
    let new = backend.open().await;
    assert!(matches!(old.commit(&empty(2)).await, Err(CommitError::Fenced { .. })));
    assert!(matches!(old.probe().await, Err(CommitError::Fenced { .. })));
    assert!(matches!(old.load().await, Err(LoadError::Fenced { .. })));
    new.probe().await.unwrap();
    new.commit(&empty(2)).await.unwrap();
    assert_eq!(loaded(&*new).await.sequence, 2);
}

async fn batches_come_in_order(backend: impl Backend) {
    let store = filled(&backend).await;
    for found in [0, 1, 3] {
        let refused = store.commit(&empty(found)).await;
        let is =
            matches!(refused, Err(CommitError::Sequence { expected: 2, found: f }) if f == found);
        assert!(is, "{refused:?}");
    }
    store.commit(&empty(2)).await.unwrap();
}

async fn a_refused_batch_leaves_nothing(backend: impl Backend) {
    let store = filled(&backend).await;
    let before = loaded(&*store).await;
    let mut batch = Batch {
        accounts: vec![account(7)],
        jobs: vec![job(7, JobState::Running)],
        replicas: vec![ReplicaRow { position: 9, ..replica(7, 0, 20) }],
        ..empty(2)
    };
    batch.admin = everything().admin;
    is_conflict(store.commit(&batch).await, "admin_entry");
    assert_eq!(shown(&loaded(&*store).await), shown(&before));
    batch.admin.clear();
    store.commit(&batch).await.unwrap();
    assert_eq!(loaded(&*store).await.jobs.len(), 2);
}

async fn keys_are_unique(backend: impl Backend) {
    let store = filled(&backend).await;
    let all = everything();
    let again = |change: fn(&mut Batch, &Batch)| {
        let mut batch = empty(2);
        change(&mut batch, &all);
        batch
    };
    let taken = account(1).current_key;
    let stolen = tallymill_engine::rows::AccountRow { current_key: taken, ..account(8) };
    let mut number = job(8, JobState::Running);
    number.number = 5;
    let mut sequence = report(23);
    (sequence.host, sequence.sequence) = (host_id(20), 0);
    let mut index = report(24);
    index.log_index = 20;
    let cases = [
        ("report", again(|batch, all| batch.reports = vec![all.reports[0].clone()])),
        ("replica", again(|batch, all| batch.replicas = all.replicas.clone())),
        ("segment", again(|batch, all| batch.segments = all.segments.clone())),
        ("segment", Batch { segments: vec![segment(5, 8, 0), segment(5, 8, 0)], ..empty(2) }),
        ("transfer", again(|batch, all| batch.transfers = all.transfers.clone())),
        ("void_run", again(|batch, all| batch.voids = all.voids.clone())),
        ("key_entry", again(|batch, all| batch.keys = all.keys.clone())),
        ("idempotency", again(|batch, all| batch.once = all.once.clone())),
        ("account", Batch { accounts: vec![stolen], ..empty(2) }),
        (
            "account",
            Batch {
                accounts: vec![
                    account(8),
                    tallymill_engine::rows::AccountRow { id: account(9).id, ..account(8) },
                ],
                ..empty(2)
            },
        ),
        ("job", Batch { jobs: vec![number], ..empty(2) }),
        ("report", Batch { reports: vec![sequence], ..empty(2) }),
        ("report", Batch { reports: vec![index], ..empty(2) }),
        ("replica", Batch { replicas: vec![replica(5, 9, 20), replica(5, 9, 20)], ..empty(2) }),
    ];
    for (table, batch) in cases {
        is_conflict(store.commit(&batch).await, table);
    }
    store.commit(&empty(2)).await.unwrap();
}

async fn unknown_replicas_cannot_move(backend: impl Backend) {
    let store = filled(&backend).await;
    let to = |task, state| ReplicaMove {
        job: job_id(5),
        task: TaskIndex(task),
        segment: 0,
        host: host_id(20),
        state,
    };
    let moves = vec![to(1, ReplicaState::Final), to(9, ReplicaState::Final)];
    let refused = store.commit(&Batch { moves, ..empty(2) }).await;
    assert!(matches!(refused, Err(CommitError::Missing { table: "replica", missing: 1 })));
    let moves = vec![to(1, ReplicaState::Provisional), to(1, ReplicaState::Void)];
    store.commit(&Batch { moves, ..empty(2) }).await.unwrap();
    let moved = store.replicas(job_id(5), TaskIndex(1)).await.unwrap();
    assert_eq!(moved[0].state, ReplicaState::Void, "the last move counts");
}

async fn upserts_replace_rows(backend: impl Backend) {
    let store = filled(&backend).await;
    let mut batch = empty(2);
    let mut changed = everything();
    changed.accounts[0].rotations = 9;
    changed.accounts[0].current_key = tallymill_protocol::Key([50; 32]);
    changed.accounts[0].recovery = None;
    changed.hosts[0].revoked_at = None;
    changed.jobs[0].finished = Some(NOW);
    changed.pages[0].states[7] = 0xff;
    changed.leases.truncate(1);
    changed.leases[0].expiry = NOW.plus(77);
    (batch.accounts, batch.hosts, batch.jobs) = (changed.accounts, changed.hosts, changed.jobs);
    (batch.pages, batch.leases) = (changed.pages, changed.leases);
    store.commit(&batch).await.unwrap();
    let snapshot = loaded(&*store).await;
    assert_eq!(snapshot.accounts, batch.accounts);
    assert_eq!(snapshot.hosts, batch.hosts);
    assert_eq!(snapshot.jobs, batch.jobs);
    assert_eq!(snapshot.pages, batch.pages);
    assert_eq!(snapshot.leases, batch.leases);
    let mut free = account(8);
    free.current_key = account(1).current_key;
    store.commit(&Batch { accounts: vec![free], ..empty(3) }).await.unwrap();
}

async fn an_idempotency_key_expires(backend: impl Backend) {
    let store = filled(&backend).await;
    let at = |sequence, micros| Batch { now: NOW.plus(micros), ..empty(sequence) };
    store.commit(&at(2, ONCE_TERM)).await.unwrap();
    assert_eq!(loaded(&*store).await.once.len(), 1, "seven days are remembered");
    store.commit(&at(3, ONCE_TERM + 1)).await.unwrap();
    assert!(loaded(&*store).await.once.is_empty());
    let now = Micros(NOW.0 + ONCE_TERM + 1);
    let batch = Batch { once: vec![once("first", now)], ..at(4, ONCE_TERM + 1) };
    store.commit(&batch).await.unwrap();
    assert_eq!(loaded(&*store).await.once, [once("first", now)]);
}

async fn another_coordinator_is_refused(backend: impl Backend) {
    drop(filled(&backend).await);
    let network = Identity { network: Network::new("other").unwrap(), ..identity() };
    let coordinator = Identity { coordinator: CoordinatorId([1; 32]), ..identity() };
    for (what, identity) in [("network", network), ("coordinator", coordinator)] {
        match backend.open_as(&identity).await.err() {
            Some(OpenError::Foreign { what: found, .. }) => assert_eq!(found, what),
            other => panic!("{what}: {other:?}"),
        }
    }
    assert_eq!(loaded(&*backend.open().await).await.sequence, 1);
}

/// A host has one result of each segment, and each moves by itself.
async fn segments_have_results_of_their_own(backend: impl Backend) {
    let store = filled(&backend).await;
    let second = ReplicaRow { segment: 1, position: 9, ..replica(5, 1, 20) };
    let key = |segment| ReplicaMove {
        job: job_id(5),
        task: TaskIndex(1),
        segment,
        host: host_id(20),
        state: ReplicaState::Final,
    };
    let (replicas, moves) = (vec![second.clone()], vec![key(0)]);
    store.commit(&Batch { replicas, moves, ..empty(2) }).await.unwrap();
    let found = store.replicas(job_id(5), TaskIndex(1)).await.unwrap();
    let first = ReplicaRow { state: ReplicaState::Final, near: None, ..replica(5, 1, 20) };
    assert_eq!(found, [second.clone(), first], "the newest first");
    assert_eq!(loaded(&*store).await.replicas, [replica(5, 0, 21), second]);
    let refused = store.commit(&Batch { moves: vec![key(2)], ..empty(3) }).await;
    assert!(matches!(refused, Err(CommitError::Missing { table: "replica", missing: 1 })));
}

/// More rows than any statement holds, in a number with many bits.
async fn many_rows_fit(backend: impl Backend) {
    let store = filled(&backend).await;
    let replicas: Vec<_> = (10..5_010).map(|task| replica(5, task, 20)).collect();
    let moves = replicas.iter().map(|row| ReplicaMove {
        job: row.job,
        task: row.task,
        segment: row.segment,
        host: row.host,
        state: ReplicaState::Final,
    });
    let moves: Vec<_> = moves.skip(1).collect();
    store.commit(&Batch { replicas, moves, ..empty(2) }).await.unwrap();
    let snapshot = loaded(&*store).await;
    let left: Vec<_> = snapshot.replicas.iter().map(|row| row.task.0).collect();
    assert_eq!(left, [0, 1, 10]);
}
