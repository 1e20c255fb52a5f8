//! Planted mistakes: each must be found, and honest books must be clean.

use tallymill_protocol::cbor::{List, Text};
use tallymill_protocol::{
    AccountId, CoordinatorId, Digest, Inputs, Interface, LeaseDigest, Limits, Micros, Network,
    Nonce, Outcome, Requirements, Segment, Tariff, TaskIndex, Versions, Visibility,
};

use super::*;
use crate::database::Place;

const JOB: Id = [1; 32];
const HOST: Id = [2; 32];
const ESCROW: Id = [11; 32];
const PENDING: Id = [12; 32];
const GRANTS: Id = [13; 32];
const GRANTED: Id = [14; 32];
const OWNER: Id = [15; 32];
const ISSUER: Id = [3; 32];

/// A receipt of task `task`, run under lease `task`, for 1 micro-credit per 1,000 fuel.
pub(super) fn receipt(task: u32, fuel: u64) -> Receipt {
    Receipt {
        format: 1,
        lease: LeaseDigest([u8::try_from(task).unwrap(); 32]),
        task: TaskIndex(task),
        input: Digest::ZERO,
        output: Digest::ZERO,
        outcome: Outcome::Exited(0),
        fuel,
        peak_memory: 0,
        memory_fuel: 0,
        bytes_in: 0,
        bytes_out: 0,
        module: Digest::ZERO,
        metered: Digest::ZERO,
        log: Digest::ZERO,
        segment: None,
        engine: Text(String::new()),
        cpu_time: 0,
        started: Micros(0),
        finished: Micros(0),
        salt: [0; 32],
    }
}

fn manifest(policy: Policy) -> Manifest {
    Manifest {
        format: 1,
        network: Network::new("test/books").unwrap(),
        coordinators: List(vec![CoordinatorId(ISSUER)]),
        delegates: List(vec![]),
        nonce: Nonce([0; 16]),
        payer: AccountId([9; 32]),
        submitter: AccountId([9; 32]),
        module: Digest::ZERO,
        versions: Versions { meter: 1, costs: Digest::ZERO, profile: 1 },
        inputs: Inputs::Range { from: 0, count: 10 },
        limits: Limits::default(),
        seed: [0; 32],
        argv: List(vec![]),
        environment: List(vec![]),
        files: List(vec![]),
        policy,
        tariff: Tariff { compile: 7, ..Tariff::default() },
        budget: 1_000,
        deadline: Micros(1),
        priority: 5,
        tags: List(vec![]),
        visibility: Visibility::Public,
        requirements: Requirements::default(),
        title: Text(String::new()),
        interface: Interface::Command,
        steps: None,
    }
}

fn moved(kind: &str, debit: Id, credit: Id, amount: i64) -> Moved {
    let (job, host) = if kind == "grant" { (None, None) } else { (Some(JOB), Some(HOST)) };
    Moved { issuer: ISSUER, kind: kind.to_owned(), debit, credit, amount, job, host }
}

/// Two tasks of 1,500 and 2,000 fuel: 2 + 2 micro-credits and 7 for compiling, granted, held, earned and paid out.
fn honest() -> Books {
    let mut books = Books::default();
    books.job(JOB, manifest(Policy::Trusted));
    books.receipt(JOB, HOST, &receipt(0, 1_500), true).unwrap();
    books.receipt(JOB, HOST, &receipt(1, 2_000), true).unwrap();
    books.transfer(moved("grant", GRANTS, GRANTED, 100));
    books.transfer(moved("hold", GRANTED, ESCROW, 50));
    books.transfer(moved("earn", ESCROW, PENDING, 11));
    books.transfer(moved("post", PENDING, OWNER, 11));
    books.transfer(moved("release", ESCROW, GRANTED, 39));
    for (account, amount) in
        [(GRANTS, -100), (GRANTED, 89), (ESCROW, 0), (PENDING, 0), (OWNER, 5), (OWNER, 6)]
    {
        books.balance(account, ISSUER, amount);
    }
    books
}

#[test]
fn honest_books_are_clean_and_sums_are_told() {
    let books = honest();
    assert_eq!(books.findings(), Findings::default());
    let told = ["hold", "earn", "release", "surcharge"].map(|kind| books.moved(&JOB, kind));
    assert_eq!(told, [50, 11, 39, 0]);
}

#[test]
fn a_second_payment_for_the_same_receipts_is_found() {
    let mut books = honest();
    books.transfer(moved("earn", ESCROW, PENDING, 4));
    books.balance(ESCROW, ISSUER, -4);
    books.balance(PENDING, ISSUER, 4);
    assert_eq!(books.findings(), Findings { double_paid: 1, ..Findings::default() });
}

#[test]
fn more_paid_out_than_earned_is_found() {
    let mut books = honest();
    books.transfer(moved("post", PENDING, OWNER, 1));
    books.balance(PENDING, ISSUER, -1);
    books.balance(OWNER, ISSUER, 1);
    assert_eq!(books.findings(), Findings { double_paid: 1, ..Findings::default() });
}

#[test]
fn a_task_paid_to_a_second_host_is_found_unless_the_policy_wants_two() {
    let second = |policy| {
        let mut books = honest();
        books.job(JOB, manifest(policy));
        let mut again = receipt(0, 1_500);
        again.lease = LeaseDigest([77; 32]);
        books.receipt(JOB, [4; 32], &again, true).unwrap();
        books.findings().double_paid
    };
    assert_eq!([second(Policy::Trusted), second(Policy::Quorum { n: 2 })], [1, 0]);
}

/// What a chain of these spans of fuel, one segment each, is found to have paid too much.
fn chain(spans: &[(u32, u64, u64)]) -> u64 {
    let mut books = Books::default();
    books.job(JOB, manifest(Policy::Trusted));
    for (at, (index, fuel_before, fuel_after)) in (0..).zip(spans) {
        let mut part = receipt(0, fuel_after - fuel_before);
        part.lease = LeaseDigest([at; 32]);
        let (before, after, index) = (Digest::ZERO, Digest::ZERO, *index);
        let (fuel_before, fuel_after) = (*fuel_before, *fuel_after);
        part.segment = Some(Segment { index, before, after, fuel_before, fuel_after });
        books.receipt(JOB, HOST, &part, true).unwrap();
    }
    books.findings().double_paid
}

#[test]
fn each_segment_of_a_long_task_is_paid_once_and_they_do_not_overlap() {
    assert_eq!(chain(&[(0, 0, 5), (1, 5, 9), (2, 9, 9)]), 0);
    assert_eq!(chain(&[(0, 0, 5), (1, 5, 9), (1, 5, 9)]), 1, "a segment twice");
    assert_eq!(chain(&[(0, 0, 5), (1, 4, 9)]), 1, "a unit of fuel twice");
    assert_eq!(chain(&[(0, 0, 5), (2, 5, 9)]), 1, "a segment that none leads to");
    assert_eq!(chain(&[(0, 1, 5)]), 1, "a chain that begins somewhere");
    assert_eq!(chain(&[(0, 0, 5), (0, 0, 6)]), 2, "two results of one segment that differ");
}

#[test]
fn a_lease_settled_again_for_another_host_is_found() {
    let mut books = honest();
    books.job(JOB, manifest(Policy::Quorum { n: 2 }));
    books.receipt(JOB, [4; 32], &receipt(0, 1_500), true).unwrap();
    assert_eq!(books.findings().double_paid, 1);
}

#[test]
fn work_that_was_not_paid_is_found() {
    let mut books = honest();
    books.receipt(JOB, HOST, &receipt(2, 3_000), true).unwrap();
    assert_eq!(books.findings(), Findings { unpaid: 3, ..Findings::default() });
}

#[test]
fn a_balance_that_no_transfer_explains_is_found_twice_over() {
    let mut books = honest();
    books.balance(OWNER, ISSUER, 2);
    // It differs from its transfers, and the sum is no longer zero.
    assert_eq!(books.findings().imbalance, 4);
}

#[test]
fn a_receipt_of_an_unknown_job_is_an_error() {
    assert!(Books::default().receipt(JOB, HOST, &receipt(0, 1), true).is_err());
}

/// Fails unless the books that were written there are read.
async fn are_read(place: Place) {
    write(&place, &honest_rows()).await;
    let books = read(&place).await.unwrap();
    assert_eq!(books.findings(), Findings { unpaid: 0, double_paid: 1, imbalance: 0 });
    assert_eq!(books.moved(&JOB, "earn"), 10);
}

#[tokio::test]
async fn books_are_read_from_a_database_file() {
    let folder = tempfile::tempdir().unwrap();
    are_read(Place::File(folder.path().join("a.db"))).await;
}

#[tokio::test]
async fn a_paid_result_without_its_receipt_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::File(folder.path().join("a.db"));
    let rows = honest_rows();
    let rows: Vec<_> = rows.into_iter().filter(|row| !row.0.contains("receipt_pack")).collect();
    write(&place, &rows).await;
    let refused = format!("{:#}", read(&place).await.unwrap_err());
    assert!(refused.contains("1 paid results without their receipts"), "{refused}");
}

/// What they paid can only be compared with itself; nothing else is passed over.
#[tokio::test]
async fn jobs_whose_receipts_were_collected_are_no_offence() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::File(folder.path().join("a.db"));
    let mut rows = honest_rows();
    rows.retain(|row| !row.0.contains("receipt_pack"));
    rows.push(("UPDATE job SET collecting = 9", vec![]));
    write(&place, &rows).await;
    let mut books = read(&place).await.unwrap();
    assert_eq!(books.findings(), Findings::default());
    books.transfer(moved("post", PENDING, OWNER, 11));
    assert_eq!(books.findings(), Findings { double_paid: 1, unpaid: 0, imbalance: 22 });
}

#[tokio::test]
async fn books_are_read_from_a_server() {
    are_read(Place::Server(tallymill_postgres::shared().database().unwrap())).await;
}

/// One job and one paid receipt of 9 micro-credits, for which 10 were earned.
fn honest_rows() -> Vec<(&'static str, Vec<Vec<u8>>)> {
    use tallymill_protocol::{Keypair, Message as _};
    let envelope = Keypair::from_secret(&[5; 32]).sign(&manifest(Policy::Trusted)).to_bytes();
    let receipt = receipt(0, 1_500).to_bytes();
    let ids = |list: &[Id]| list.iter().map(|id| id.to_vec()).collect::<Vec<_>>();
    vec![
        ("INSERT INTO job (id, number, envelope) VALUES ($1, 5, $2)", vec![JOB.to_vec(), envelope]),
        ("INSERT INTO host VALUES ($1, 6)", ids(&[HOST])),
        ("INSERT INTO replica VALUES (5, 6, 'final', 7, 8)", vec![]),
        ("INSERT INTO receipt_pack VALUES (7, 8, 0, $1)", vec![receipt]),
        (
            "INSERT INTO transfer VALUES ($1, 'earn', $2, $3, 10, $4, $5)",
            ids(&[ISSUER, ESCROW, PENDING, JOB, HOST]),
        ),
        ("INSERT INTO ledger_account VALUES ($1, $2)", ids(&[ESCROW, ISSUER])),
        ("INSERT INTO ledger_account VALUES ($1, $2)", ids(&[PENDING, ISSUER])),
        ("INSERT INTO balance VALUES ($1, -10)", ids(&[ESCROW])),
        ("INSERT INTO balance VALUES ($1, 10)", ids(&[PENDING])),
    ]
}

/// The tables that are read, with no more than what is read of them.
const TABLES: &str = "CREATE TABLE job (id BLOB, number BIGINT, envelope BLOB, collecting BIGINT);
    CREATE TABLE host (id BLOB, number BIGINT);
    CREATE TABLE replica (job BIGINT, host BIGINT, state TEXT, report BIGINT, position BIGINT);
    CREATE TABLE receipt_pack (report BIGINT, position BIGINT, packing SMALLINT, bytes BLOB);
    CREATE TABLE transfer (issuer BLOB, kind TEXT, debit BLOB, credit BLOB, amount BIGINT, job BLOB, host BLOB);
    CREATE TABLE ledger_account (id BLOB, issuer BLOB);
    CREATE TABLE balance (account BLOB, amount BIGINT)";

async fn write(place: &Place, rows: &[(&'static str, Vec<Vec<u8>>)]) {
    use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};
    macro_rules! fill {
        ($connection:expr, $tables:expr) => {{
            let mut database = $connection.await.unwrap();
            sqlx::raw_sql(AssertSqlSafe($tables)).execute(&mut database).await.unwrap();
            for (statement, values) in rows {
                let query = sqlx::query(*statement);
                let query = values.iter().fold(query, |query, value| query.bind(value));
                query.execute(&mut database).await.unwrap();
            }
        }};
    }
    match place {
        Place::File(file) => {
            let options = sqlx::sqlite::SqliteConnectOptions::new().filename(file);
            fill!(options.create_if_missing(true).connect(), TABLES);
        }
        Place::Server(address) => {
            fill!(sqlx::PgConnection::connect(address), TABLES.replace("BLOB", "BYTEA"));
        }
    }
}
