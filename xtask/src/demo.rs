//! `cargo xtask demo`: a network of three processes does real work, and everything it claims is checked.

mod answers;
mod checks;
mod jobs;
mod money;

use anyhow::Context;
use tallymill_sdk::Client;

use crate::guests;
use crate::network::{self, Network};
use crate::recount;
use crate::say::{note, say};
use checks::Checks;
use jobs::Done;

/// Credit granted to the account that submits: more than both jobs can cost at most.
const CREDITS: u64 = 10_500;
/// The workers, each of an owner of its own.
const VOLUNTEERS: [&str; 2] = ["alder", "birch"];

/// Does all set-up, runs the demo, and fails unless every check holds.
pub(crate) fn run() -> anyhow::Result<()> {
    note("building guests and the tallymill binary");
    guests::build()?;
    let program = network::build(false)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let folder = network::folder("demo")?;
        let mut network = Network::start(&program, folder.path())?;
        say(format!("coordinator at {}", network.url()));
        for name in VOLUNTEERS {
            network.join(name, 1)?;
            say(format!("worker {name} joined"));
        }
        demo(&mut network).await
    })
}

async fn demo(network: &mut Network) -> anyhow::Result<()> {
    let customer = network.customer("customer", CREDITS).await?;
    say(format!("{CREDITS} credits granted to account {}", customer.account()));
    let done = jobs::run(network, &customer).await?;
    let mut checks = Checks::default();
    found(&done, &mut checks)?;
    credit(network, &customer, &done, &mut checks).await?;
    receipts(network, &done, &mut checks)?;
    checks.finish()
}

/// What the jobs found.
fn found(done: &[Done; 2], checks: &mut Checks) -> anyhow::Result<()> {
    let [mersenne, align] = done;
    for job in done {
        checks.result(
            &format!("{}: every output is the expected one", job.name),
            answers::check(&job.outputs, &job.expected),
        );
    }
    let exponents = answers::exponents(&mersenne.outputs)?;
    say(format!("2^p - 1 is prime for p = {exponents:?}"));
    checks.that("the exponents are the known ones", exponents == answers::EXPONENTS);
    let (_, hit) = answers::best(&align.outputs)?;
    say(format!("best alignment: {}", answers::describe(&hit)));
    Ok(())
}

/// What was held, paid, returned and earned; and whether the books balance.
async fn credit(
    network: &Network,
    customer: &Client,
    done: &[Done; 2],
    checks: &mut Checks,
) -> anyhow::Result<()> {
    let books = recount::read(&network.database()?).await?;
    let mut paid = 0;
    for job in done {
        let price = money::Price::of(&books, job);
        say(&price);
        price.check(job, checks);
        paid += price.paid;
    }
    let earned = money::earned(network).await?;
    let left = money::held_by(&customer.balance().await?);
    money::check(&earned, left, i128::from(CREDITS) * 1_000_000, paid, checks);
    let findings = books.findings();
    checks.that("no receipt was paid twice", findings.double_paid == 0);
    checks.that("every receipt was paid", findings.unpaid == 0);
    checks.that("balances follow from transfers and sum to 0", findings.imbalance == 0);
    let key = network.operator_key();
    let audit = crate::repo::run(network.verb(&key).args(["--json", "admin", "audit"]));
    checks.result("the coordinator's own audit finds nothing", audit);
    Ok(())
}

/// Re-executes a sample of results from nothing but their evidence.
fn receipts(network: &Network, done: &[Done; 2], checks: &mut Checks) -> anyhow::Result<()> {
    let folder = network::folder("receipts")?;
    let coordinator = network.about()?;
    let coordinator = coordinator.get("coordinator").and_then(|key| key.as_str());
    let coordinator = coordinator.context("the coordinator does not name its key")?;
    let key = folder.path().join("stranger.key");
    for job in done {
        for task in job.sample() {
            let file = folder.path().join(format!("{}-{task}.json", job.name));
            let (id, task) = (job.handle.id().to_string(), task.to_string());
            let mut receipt = network.verb(&key);
            receipt.args(["job", "receipt", &id, &task, "--out"]).arg(&file);
            let mut verify = network.verb(&key);
            verify.arg("verify").arg(&file).args(["--coordinator", coordinator]);
            let both = crate::repo::run(&mut receipt).and_then(|()| crate::repo::run(&mut verify));
            checks
                .result(&format!("{} task {task}: receipt holds on re-execution", job.name), both);
        }
    }
    Ok(())
}
