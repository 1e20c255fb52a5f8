//! Reads: single rows, pages by key, sums, and the audit of the ledger.

use tallymill_engine::rows::{
    Batch, JobState, ReplicaRow, ReplicaState, ReportRow, SuspensionKind, TaskRow, TaskState,
};
use tallymill_ledger::{AccountKind, Amount, GrantPolicy, TransferKind};
use tallymill_protocol::{AccountId, CoordinatorId, Digest, Key, LeaseDigest, TaskIndex, merkle};
use tallymill_storage::{
    BalanceTotal, Decided, JobFilter, Leaf, MAX_PAGE, Offence, Page, Rule, Store, TransferFilter,
};

use crate::world::{
    Backend, account, balance, blob, books, empty, escrow, everything, filled, granted, host,
    host_id, identity, job, job_id, key, once, owner, pending, receipt, replica, report, segment,
    signed, suspension, task, transfer, void,
};

crate::on_all! {
    single_rows_are_found, jobs_come_newest_first, tasks_come_by_index_and_by_decision,
    a_long_task_shows_its_segments_and_the_output_of_its_last, a_list_of_replicas_ends,
    replicas_and_voids_of_a_task, reports_come_with_their_evidence, a_large_report_comes_back_as_it_was,
    a_token_learns_whose_grant_it_was, people_and_hosts_come_by_id,
    credit_is_listed_and_summed, transfers_are_filtered, operators_and_blobs,
    pages_are_limited, sound_books_pass_the_audit, every_rule_of_the_ledger_is_examined,
}

async fn single_rows_are_found(backend: impl Backend) {
    let store = filled(&backend).await;
    assert_eq!(store.job(job_id(5)).await.unwrap(), Some(job(5, JobState::Running)));
    assert_eq!(store.job(job_id(6)).await.unwrap(), None);
    assert_eq!(store.account(owner(1)).await.unwrap(), Some(account(1)));
    assert_eq!(store.account(owner(3)).await.unwrap(), None);
    assert_eq!(store.account_by_key(Key([2; 32])).await.unwrap(), Some(account(2)));
    assert_eq!(store.host(host_id(20)).await.unwrap(), Some(host(20, 1)));
    assert_eq!(store.task(job_id(5), TaskIndex(0)).await.unwrap(), Some(task(5, 0, 1)));
    assert_eq!(store.task(job_id(5), TaskIndex(1)).await.unwrap(), None);
    let answer = everything().once[0].clone();
    assert_eq!(store.once(owner(1), "jobs", "first").await.unwrap(), Some(answer));
    assert_eq!(store.once(owner(2), "jobs", "first").await.unwrap(), None);
    assert_eq!(store.blob(Digest([1; 32])).await.unwrap(), Some(blob(1)));
    let pages = store.pages(job_id(5), Page::first(10)).await.unwrap();
    assert_eq!(pages, everything().pages);
    assert!(store.pages(job_id(5), Page::after(0, 10)).await.unwrap().is_empty());
}

async fn numbers(store: &dyn Store, filter: JobFilter, page: Page<u64>) -> Vec<u64> {
    store.jobs(filter, page).await.unwrap().iter().map(|row| row.number).collect()
}

async fn jobs_come_newest_first(backend: impl Backend) {
    let store = filled(&backend).await;
    let mut jobs: Vec<_> = (6..10).map(|n| job(n, JobState::Finished)).collect();
    jobs[0].payer = owner(2);
    store.commit(&Batch { jobs, ..empty(2) }).await.unwrap();
    let all = JobFilter::default();
    assert_eq!(numbers(&*store, all, Page::first(2)).await, [9, 8]);
    assert_eq!(numbers(&*store, all, Page::after(8, 10)).await, [7, 6, 5]);
    assert_eq!(numbers(&*store, all, Page::after(u64::MAX, 1)).await, [9]);
    let state = Some(JobState::Finished);
    let finished = JobFilter { state, payer: None };
    assert_eq!(numbers(&*store, finished, Page::after(9, 10)).await, [8, 7, 6]);
    let payer = Some(owner(1));
    assert_eq!(
        numbers(&*store, JobFilter { payer, state: None }, Page::first(9)).await,
        [9, 8, 7, 5]
    );
    assert_eq!(numbers(&*store, JobFilter { payer, state }, Page::after(8, 9)).await, [7]);
}

async fn tasks_come_by_index_and_by_decision(backend: impl Backend) {
    let store = filled(&backend).await;
    let mut failed = task(5, 1, 2);
    (failed.state, failed.cause) = (TaskState::Failed, Some("no agreement".to_owned()));
    (failed.host, failed.outcome, failed.fuel) = (None, None, None);
    (failed.output, failed.output_bytes) = (None, None);
    let earlier = task(5, 9, 3);
    let tasks = vec![earlier.clone(), failed.clone()];
    store.commit(&Batch { tasks, ..empty(2) }).await.unwrap();
    let first = task(5, 0, 1);
    let by_index = store.tasks(job_id(5), None, Page::first(9)).await.unwrap();
    assert_eq!(by_index, [first.clone(), failed.clone(), earlier.clone()]);
    let state = Some(TaskState::Final);
    let page = Page::after(TaskIndex(0), 9);
    assert_eq!(store.tasks(job_id(5), state, page).await.unwrap(), vec![earlier.clone()]);
    let decided = store.decided(job_id(5), Page::first(2)).await.unwrap();
    let with_output = Decided { task: first, output: Some(vec![20; 3]) };
    assert_eq!(decided, [with_output, Decided { task: failed, output: None }]);
    let rest = store.decided(job_id(5), Page::after(2, 9)).await.unwrap();
    assert_eq!(rest, [Decided { task: earlier, output: None }]);
}

/// The output that stands is that of the segment that decided the task, not of one before by the same host.
async fn a_long_task_shows_its_segments_and_the_output_of_its_last(backend: impl Backend) {
    let store = filled(&backend).await;
    let part = |segment: u32| ReplicaRow {
        segment,
        position: 10 + segment,
        output: (segment == 2).then(|| vec![9; 4]),
        ..replica(5, 3, 20)
    };
    let decided = TaskRow { segment: 2, ..task(5, 3, 2) };
    let (replicas, tasks) = (vec![part(0), part(1), part(2)], vec![decided.clone()]);
    store.commit(&Batch { replicas, tasks, ..empty(2) }).await.unwrap();
    let found = store.decided(job_id(5), Page::after(1, 9)).await.unwrap();
    assert_eq!(found, [Decided { task: decided, output: Some(vec![9; 4]) }]);
    let rows = store.segments(job_id(5), TaskIndex(3), Page::first(9)).await.unwrap();
    assert_eq!(rows, [segment(5, 3, 0), segment(5, 3, 1)]);
    let rows = store.segments(job_id(5), TaskIndex(3), Page::after(0, 9)).await.unwrap();
    assert_eq!(rows, [segment(5, 3, 1)]);
    assert!(store.load().await.unwrap().segments.is_empty(), "a decided task goes no further");
}

async fn a_list_of_replicas_ends(backend: impl Backend) {
    let store = filled(&backend).await;
    let part = |segment| ReplicaRow { segment, position: 10 + segment, ..replica(5, 4, 20) };
    let replicas = (0..=MAX_PAGE).map(part).collect();
    store.commit(&Batch { replicas, ..empty(2) }).await.unwrap();
    let found = store.replicas(job_id(5), TaskIndex(4)).await.unwrap();
    let ends = (found[0].segment, found[found.len() - 1].segment);
    assert_eq!((found.len(), ends), (MAX_PAGE as usize, (MAX_PAGE, 1)));
}

async fn replicas_and_voids_of_a_task(backend: impl Backend) {
    let store = filled(&backend).await;
    store.commit(&Batch { voids: vec![void(2, 5, 2), void(3, 5, 3)], ..empty(2) }).await.unwrap();
    let replicas = store.replicas(job_id(5), TaskIndex(0)).await.unwrap();
    let moved = ReplicaRow { state: ReplicaState::Final, near: None, ..replica(5, 0, 20) };
    assert_eq!(
        replicas,
        [moved, replica(5, 0, 21)],
        "a result that moved on is of no neighbourhood"
    );
    let voids = store.voids(job_id(5), TaskIndex(2), Page::first(9)).await.unwrap();
    assert_eq!(voids, [void(1, 5, 2), void(2, 5, 2)]);
    let voids = store.voids(job_id(5), TaskIndex(2), Page::after(1, 9)).await.unwrap();
    assert_eq!(voids, [void(2, 5, 2)]);
}

async fn reports_come_with_their_evidence(backend: impl Backend) {
    let store = filled(&backend).await;
    let root = Digest([20; 32]);
    assert_eq!(store.report(root).await.unwrap(), Some(report(20)));
    assert_eq!(store.report_of(host_id(22), 0).await.unwrap(), Some(report(22)));
    assert_eq!(store.report_of(host_id(22), 1).await.unwrap(), None);
    assert_eq!(store.lease_token(LeaseDigest([77; 32])).await.unwrap(), Some(signed(77)));
    assert_eq!(store.lease_token(LeaseDigest([78; 32])).await.unwrap(), None);
    let leaf = |position| Leaf {
        position,
        job: job_id(5),
        task: TaskIndex(position),
        receipt: receipt(20, position),
    };
    assert_eq!(store.receipts(root, Page::first(9)).await.unwrap(), [leaf(0), leaf(1)]);
    assert_eq!(store.receipts(root, Page::after(0, 9)).await.unwrap(), [leaf(1)]);
    assert_eq!(store.receipts(root, Page::first(1)).await.unwrap(), [leaf(0)]);
    assert!(store.receipts(Digest([23; 32]), Page::first(9)).await.unwrap().is_empty());
    let keys = store.keys(owner(1), Page::first(9)).await.unwrap();
    assert_eq!(keys, everything().keys);
    assert!(store.keys(owner(1), Page::after(1, 9)).await.unwrap().is_empty());
}

/// Receipts of a report, some of which became replicas in turns of two jobs, and some not at all.
async fn a_large_report_comes_back_as_it_was(backend: impl Backend) {
    let store = filled(&backend).await;
    let kept: Vec<u32> = (0..400).filter(|position| position % 7 != 3).collect();
    let row = |position: u32| ReplicaRow {
        report: Digest([30; 32]),
        ..replica(
            if (200..300).contains(&position) {
                5 + u8::from(position.is_multiple_of(2))
            } else {
                5
            },
            position + 10,
            30,
        )
    };
    let replicas: Vec<_> =
        kept.iter().map(|position| ReplicaRow { position: *position, ..row(*position) }).collect();
    let leaves = (0..400).map(|position| merkle::leaf(&receipt(30, position + 10))).collect();
    let whole = ReportRow { receipts: 400, leaves, verdicts: vec![0; 400], ..report(30) };
    let mut batch = Batch {
        hosts: vec![host(30, 1)],
        jobs: vec![job(6, JobState::Running)],
        reports: vec![whole.clone()],
        replicas: replicas.clone(),
        ..empty(2)
    };
    // In whatever order they come.
    batch.replicas.swap(8, 9);
    store.commit(&batch).await.unwrap();
    assert_eq!(store.report(Digest([30; 32])).await.unwrap(), Some(whole));
    let found = store.receipts(Digest([30; 32]), Page::after(1, MAX_PAGE)).await.unwrap();
    let leaf = |row: &ReplicaRow| Leaf {
        position: row.position,
        job: row.job,
        task: row.task,
        receipt: row.receipt.clone(),
    };
    assert_eq!(found, replicas[2..].iter().map(leaf).collect::<Vec<_>>());
    for row in [&replicas[0], &replicas[200], &replicas[replicas.len() - 1]] {
        assert_eq!(store.replicas(row.job, row.task).await.unwrap(), std::slice::from_ref(row));
    }
    let waiting = store.load().await.unwrap().replicas;
    let mut expected = [everything().replicas.split_off(1), replicas].concat();
    expected.sort_by_key(|row| (row.job, row.task));
    assert!(waiting == expected, "{} rows wait, not {}", waiting.len(), expected.len());
}

/// A token whose receipts were all refused at first is found with the result that came later.
async fn a_token_learns_whose_grant_it_was(backend: impl Backend) {
    let store = filled(&backend).await;
    let again = ReportRow {
        host: host_id(22),
        sequence: 1,
        leases: vec![(LeaseDigest([22; 32]), signed(22))],
        ..report(23)
    };
    let row = ReplicaRow { report: again.root, ..replica(5, 1, 22) };
    let batch = Batch {
        hosts: vec![host(20, 1), host(22, 1), host(19, 1)],
        reports: vec![again],
        replicas: vec![row.clone()],
        ..empty(2)
    };
    store.commit(&batch).await.unwrap();
    let replicas = store.replicas(job_id(5), TaskIndex(1)).await.unwrap();
    assert_eq!(replicas, [replica(5, 1, 20), row], "whoever else is new or comes again");
}

async fn people_and_hosts_come_by_id(backend: impl Backend) {
    let store = filled(&backend).await;
    let accounts = store.accounts(Page::first(9)).await.unwrap();
    assert_eq!(accounts, [account(1), account(2)]);
    assert_eq!(store.accounts(Page::after(owner(1), 9)).await.unwrap(), [account(2)]);
    let hosts = store.hosts(None, Page::first(9)).await.unwrap();
    assert_eq!(hosts, [host(20, 1), host(21, 2)]);
    assert_eq!(store.hosts(Some(owner(2)), Page::first(9)).await.unwrap(), [host(21, 2)]);
    let after = Page::after(host_id(21), 9);
    assert!(store.hosts(Some(owner(2)), after).await.unwrap().is_empty());
}

async fn credit_is_listed_and_summed(backend: impl Backend) {
    let store = filled(&backend).await;
    let mut batch = empty(2);
    batch.balances = vec![balance(pending(5, 21), 8), balance(granted(2), 3)];
    store.commit(&batch).await.unwrap();
    let list = store.balances(owner(1), None, Page::first(9)).await.unwrap();
    let mut expected =
        [balance(granted(1), 0), balance(pending(5, 20), 50), balance(pending(5, 21), 8)];
    expected.sort_by_key(|row| row.account.id());
    assert_eq!(list, expected);
    let after = Page::after(expected[0].account.id(), 1);
    assert_eq!(store.balances(owner(1), None, after).await.unwrap(), expected[1..2]);
    let one = store.balances(owner(1), Some("granted"), Page::first(9)).await.unwrap();
    assert_eq!(one, [balance(granted(1), 0)]);
    let total = |kind: &str, micros| BalanceTotal {
        issuer: identity().coordinator,
        kind: kind.to_owned(),
        amount: Amount::new(micros),
    };
    let totals = store.totals(owner(1)).await.unwrap();
    assert_eq!(totals, [total("granted", 0), total("pending", 58)]);
    let of_job = store.job_balances(job_id(5), Page::first(9)).await.unwrap();
    assert_eq!(of_job.len(), 3);
    assert!(of_job.contains(&balance(escrow(5), 0)));
}

async fn transfers_are_filtered(backend: impl Backend) {
    let store = filled(&backend).await;
    let rows = everything().transfers;
    let read = |filter, page| store.transfers(filter, page);
    assert_eq!(read(TransferFilter::All, Page::first(2)).await.unwrap(), rows[..2]);
    assert_eq!(read(TransferFilter::All, Page::after(2, 9)).await.unwrap(), rows[2..]);
    assert_eq!(read(TransferFilter::Job(job_id(5)), Page::first(9)).await.unwrap(), rows[1..]);
    assert_eq!(read(TransferFilter::Owner(owner(1)), Page::first(9)).await.unwrap(), rows);
    assert_eq!(read(TransferFilter::Owner(owner(1)), Page::after(1, 1)).await.unwrap(), rows[1..2]);
    assert!(read(TransferFilter::Owner(owner(2)), Page::first(9)).await.unwrap().is_empty());
}

async fn operators_and_blobs(backend: impl Backend) {
    let store = filled(&backend).await;
    assert_eq!(store.admin(Page::first(9)).await.unwrap(), everything().admin);
    assert!(store.admin(Page::after(1, 9)).await.unwrap().is_empty());
    let kinds = [SuspensionKind::Account, SuspensionKind::Job];
    let mut again = blob(1);
    again.account = owner(2);
    let batch = Batch {
        suspensions: kinds.map(suspension).to_vec(),
        blobs: vec![again, blob(3)],
        once: vec![once("second", empty(2).now)],
        ..empty(2)
    };
    store.commit(&batch).await.unwrap();
    let [account, job] = kinds.map(suspension);
    let module = suspension(SuspensionKind::Module);
    let all = store.suspensions(Page::first(9)).await.unwrap();
    assert_eq!(all, [account, job.clone(), module.clone()]);
    let after = Page::after((SuspensionKind::Account, [8; 32]), 9);
    assert_eq!(store.suspensions(after).await.unwrap(), [job, module]);
    let blobs = store.blobs(owner(1), Page::after(Digest([1; 32]), 9)).await.unwrap();
    assert_eq!(blobs, [blob(2), blob(3)]);
    assert_eq!(store.blob_bytes(owner(1)).await.unwrap(), 3_000);
    assert_eq!(store.blob_bytes(owner(2)).await.unwrap(), 0, "the first who uploads it keeps it");
}

async fn pages_are_limited(backend: impl Backend) {
    let store = filled(&backend).await;
    let accounts = (0..=MAX_PAGE).map(|n| {
        let mut row = account(3);
        row.id.0[..4].copy_from_slice(&n.to_be_bytes());
        row.current_key = Key(row.id.0);
        row
    });
    let accounts: Vec<_> = accounts.collect();
    store.commit(&Batch { accounts, ..empty(2) }).await.unwrap();
    let page: Page<AccountId> = Page::first(u32::MAX);
    assert_eq!(store.accounts(page).await.unwrap().len(), MAX_PAGE as usize);
    assert!(store.accounts(Page::first(0)).await.unwrap().is_empty());
}

async fn sound_books_pass_the_audit(backend: impl Backend) {
    let store = filled(&backend).await;
    let mut batch = empty(2);
    // 14 micro-credits for the two results that wait.
    batch.transfers = vec![transfer(4, TransferKind::Hold, (granted(1), escrow(5)))];
    batch.transfers.push(transfer(5, TransferKind::Grant, (key(AccountKind::Grants), granted(1))));
    batch.balances = vec![balance(key(AccountKind::Grants), -100), balance(escrow(5), 50)];
    store.commit(&batch).await.unwrap();
    let audit = store.audit_ledger(LIMITS).await.unwrap();
    assert_eq!((audit.transfers, audit.balances), (5, 4));
    assert_eq!(audit.sums, [(identity().coordinator, 0)]);
    assert_eq!(audit.offences, []);
}

/// Whose credit it is.
const ISSUER: CoordinatorId = CoordinatorId([9; 32]);

/// A little more than what `books` grants, twice.
const LIMITS: GrantPolicy =
    GrantPolicy { issuer: ISSUER, per_account: Amount::new(100), total: Amount::new(120) };

#[test]
fn rules_are_the_invariants_of_the_ledger() {
    let names: Vec<_> = tallymill_ledger::INVARIANTS.iter().map(|(name, _)| *name).collect();
    assert_eq!(Rule::ALL.map(Rule::phrase).to_vec(), names);
}

/// Pays the same slots twice, lets an account fall below its floor, closes a job with credit left in it, grants too much,
/// spends more than is held for what waits, and moves a stranger's credit.
async fn every_rule_of_the_ledger_is_examined(backend: impl Backend) {
    let store = backend.open().await;
    let jobs = vec![job(5, JobState::Finished), job(6, JobState::Running)];
    let costs = |row| ReplicaRow { amount: Amount::new(40), ..row };
    let elsewhere = ReplicaRow { position: 9, ..replica(5, 0, 20) };
    let replicas = [replica(6, 0, 20), replica(6, 1, 20), elsewhere].map(costs).to_vec();
    let (hosts, reports) = (vec![host(20, 1)], vec![report(20)]);
    let mut batch = Batch { hosts, jobs, reports, replicas, ..empty(1) };
    books(&mut batch);
    let grants = key(AccountKind::Grants);
    batch.transfers.extend([
        transfer(4, TransferKind::Earn, (escrow(5), pending(5, 20))),
        transfer(5, TransferKind::Grant, (grants, granted(2))),
        transfer(6, TransferKind::Grant, (grants, granted(2))),
        transfer(7, TransferKind::Grant, (grants, granted(2))),
        // The payer of the jobs is account 1; job 7 is not there at all.
        transfer(8, TransferKind::Hold, (granted(2), escrow(6))),
        transfer(9, TransferKind::Hold, (granted(2), escrow(7))),
    ]);
    batch.balances = vec![
        balance(grants, -200),
        balance(granted(1), 1),
        balance(granted(2), 50),
        balance(escrow(5), -50),
        balance(escrow(6), 50),
        balance(escrow(7), 50),
        balance(pending(5, 20), 100),
    ];
    store.commit(&batch).await.unwrap();
    let audit = store.audit_ledger(LIMITS).await.unwrap();
    let offence =
        |rule, subject: String, found, expected| Offence { rule, subject, found, expected };
    let id = |account: tallymill_ledger::AccountKey| Digest(account.id().0).to_string();
    let mut closed = [(id(escrow(5)), -50), (id(pending(5, 20)), 100)];
    closed.sort();
    let mut granted_too_much = [(id(granted(2)), 150, 100), (ISSUER.to_string(), 200, 120)];
    granted_too_much.sort();
    let mut expected = vec![
        offence(Rule::SumIsZero, ISSUER.to_string(), 1, 0),
        offence(Rule::Floor, id(escrow(5)), -50, 0),
        offence(Rule::BalanceIsTransfers, id(granted(1)), 1, 0),
        offence(Rule::EscrowCoversReserved, id(escrow(6)), 50, 80),
    ];
    expected.extend(closed.map(|(id, found)| offence(Rule::ClosedIsEmpty, id, found, 0)));
    expected.extend(
        granted_too_much
            .map(|(subject, found, most)| offence(Rule::GrantsWithinLimits, subject, found, most)),
    );
    expected.push(offence(Rule::PaidOnce, Digest([5; 32]).to_string(), 2, 1));
    let payers = [6, 7].map(|job| job_id(job).to_string());
    expected.extend(payers.map(|job| offence(Rule::PayFollowsPayer, job, 50, 0)));
    assert_eq!(audit.offences, expected);
    let mut broken: Vec<Rule> = audit.offences.iter().map(|offence| offence.rule).collect();
    broken.dedup();
    assert_eq!(broken, Rule::ALL, "each of them");
}
