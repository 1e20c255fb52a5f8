//! Weighted random commands against the books, all invariants after every step, and a replay of the log at the end.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tallymill_ledger::{
    AccountKind, Amount, Balances, Batch, Book, Held, JobAccounts, LedgerError, Payee, Reservation,
    audit_pay, clear, earn, finalise, hold, release, reserve, surcharge, surcharge_on, void,
};
use tallymill_protocol::Digest;

use crate::world::{World, amount, issuer, job, key, owner, payee};

/// What people, hosts and operators do; numbers choose among what exists.
#[derive(Debug, Clone)]
enum Command {
    Grant { issuer: u8, to: u8, micros: i64 },
    Submit { payer: u8, cap: i64, budget: u64 },
    Lease { job: usize, most: i64 },
    Report { job: usize, host: u8, prices: Vec<i64>, parts: u32 },
    Finalise { result: usize },
    Void { result: usize },
    Release { job: usize },
    AuditPay { to: u8, micros: i64 },
    Clear { who: u8, micros: i64 },
}

fn submit() -> impl Strategy<Value = Command> {
    let submit = |(payer, cap, budget)| Command::Submit { payer, cap, budget };
    (0u8..4, 0i64..400, 0u64..400).prop_map(submit)
}

fn command() -> impl Strategy<Value = Command> {
    let n = || 0u8..4;
    let any = || 0usize..16;
    prop_oneof![
        3 => (0u8..5, n(), -5i64..700).prop_map(|(at, to, micros)| Command::Grant { issuer: at / 4, to, micros }),
        4 => submit(),
        3 => (any(), 0i64..120).prop_map(|(job, most)| Command::Lease { job, most }),
        10 => (any(), n(), prop::collection::vec(0i64..50, 1..4), 0u32..400_000)
            .prop_map(|(job, host, prices, parts)| Command::Report { job, host, prices, parts }),
        6 => any().prop_map(|result| Command::Finalise { result }),
        2 => any().prop_map(|result| Command::Void { result }),
        1 => any().prop_map(|job| Command::Release { job }),
        1 => (n(), -1i64..20).prop_map(|(to, micros)| Command::AuditPay { to, micros }),
        2 => (n(), -1i64..60).prop_map(|(who, micros)| Command::Clear { who, micros }),
    ]
}

struct Job {
    accounts: JobAccounts,
    held: Held,
    budget: Reservation,
    open: u64,
    closed: bool,
}

/// A batch that is paid into pending and neither final nor void.
struct Pending {
    job: usize,
    payee: Payee,
    prices: Vec<Amount>,
    evidence: Digest,
}

/// The engine's side of the story, kept by the test.
#[derive(Default)]
struct Network {
    world: World,
    jobs: Vec<Job>,
    pending: Vec<Pending>,
    slots: u64,
    /// Net earned credit that entered an owner's hands from others, less what left.
    earned: BTreeMap<[u8; 32], i64>,
}

impl Network {
    fn run(&mut self, command: &Command) -> Result<(), LedgerError> {
        match command {
            Command::Grant { issuer, to, micros } => self.world.grant(*issuer, owner(*to), *micros),
            Command::Submit { payer, cap, budget } => self.submit(*payer, amount(*cap), *budget),
            Command::Lease { job, most } => self.lease(*job, amount(*most)),
            Command::Report { job, host, prices, parts } => {
                self.report(*job, payee(*host), prices, *parts)
            }
            Command::Finalise { result } => self.settle(*result, true),
            Command::Void { result } => self.settle(*result, false),
            Command::Release { job } => self.release(*job),
            Command::AuditPay { to, micros } => self.audit(*to, *micros),
            Command::Clear { who, micros } => self.clear(*who, *micros),
        }
    }

    fn submit(&mut self, payer: u8, cap: Amount, budget: u64) -> Result<(), LedgerError> {
        let accounts = job(u32::try_from(self.jobs.len()).unwrap(), payer);
        let (held, transfers) = hold(&self.world.balances, &accounts, cap, budget)?;
        let whole = held.granted.plus(held.earned)?;
        assert_eq!(whole, cap.min(Amount::try_from(budget)?), "escrow is min(budget, cap)");
        self.world.record(&accounts);
        self.world.book(Ok(transfers))?;
        *self.earned.entry(accounts.payer.0).or_default() -= held.earned.micros();
        let budget = Reservation { budget: whole, ..Reservation::default() };
        self.jobs.push(Job { accounts, held, budget, open: 0, closed: false });
        Ok(())
    }

    /// One of the jobs that are not closed.
    fn choose(&self, number: usize) -> Option<usize> {
        let open: Vec<_> = (0..self.jobs.len()).filter(|at| !self.jobs[*at].closed).collect();
        open.get(number.checked_rem(open.len())?).copied()
    }

    fn lease(&mut self, at: usize, most: Amount) -> Result<(), LedgerError> {
        let Some(at) = self.choose(at) else { return Ok(()) };
        let job = &mut self.jobs[at];
        job.budget = reserve(&job.budget, most)?;
        self.reserve_on_record(at);
        Ok(())
    }

    fn reserve_on_record(&mut self, at: usize) {
        let job = &self.jobs[at];
        self.world.jobs.get_mut(&job.accounts.job).unwrap().reserved = job.budget.reserved;
    }

    /// A report uses what is reserved, or reserves what it lacks.
    fn report(
        &mut self,
        at: usize,
        payee: Payee,
        prices: &[i64],
        parts: u32,
    ) -> Result<(), LedgerError> {
        let Some(at) = self.choose(at) else { return Ok(()) };
        let job = &mut self.jobs[at];
        let prices: Vec<_> = prices.iter().map(|micros| amount(*micros)).collect();
        let extras: Vec<_> =
            prices.iter().map(|price| surcharge_on(*price, parts).unwrap()).collect();
        let cost = Amount::sum(prices.iter().chain(&extras).copied())?;
        if cost > job.budget.reserved {
            job.budget = reserve(&job.budget, cost.minus(job.budget.reserved)?)?;
        }
        job.budget.reserved = job.budget.reserved.minus(cost)?;
        job.budget.spent = job.budget.spent.plus(cost)?;
        job.open += 1;
        self.slots += 1;
        let (accounts, evidence) = (job.accounts, Digest::of(&self.slots.to_be_bytes()));
        self.world.book(earn(&accounts, &payee, &Batch { prices: &prices, evidence }))?;
        self.world.book(surcharge(&accounts, &Batch { prices: &extras, evidence }))?;
        self.pending.push(Pending { job: at, payee, prices, evidence });
        self.reserve_on_record(at);
        Ok(())
    }

    fn settle(&mut self, at: usize, is_final: bool) -> Result<(), LedgerError> {
        let Some(at) = at.checked_rem(self.pending.len()) else { return Ok(()) };
        let Pending { job, payee, prices, evidence } = self.pending.swap_remove(at);
        let job = &mut self.jobs[job];
        let batch = Batch { prices: &prices, evidence };
        let sum = Amount::sum(prices.iter().copied())?;
        job.open -= 1;
        if is_final {
            if payee.owner != job.accounts.payer {
                *self.earned.entry(payee.owner.0).or_default() += sum.micros();
            }
            return self.world.book(finalise(&job.accounts, &payee, &batch));
        }
        job.budget.spent = job.budget.spent.minus(sum)?;
        self.world.book(void(&job.accounts, &payee, &batch))
    }

    fn release(&mut self, at: usize) -> Result<(), LedgerError> {
        let Some(at) = self.choose(at) else { return Ok(()) };
        let job = &mut self.jobs[at];
        let transfers = release(&self.world.balances, &job.accounts, job.held, job.open)?;
        let escrow = self.world.balances.balance(&job.accounts.escrow());
        *self.earned.entry(job.accounts.payer.0).or_default() +=
            escrow.min(job.held.earned).micros();
        job.closed = true;
        job.budget.reserved = Amount::ZERO;
        self.world.jobs.get_mut(&job.accounts.job).unwrap().closed = true;
        self.world.book(Ok(transfers))?;
        self.reserve_on_record(at);
        Ok(())
    }

    fn audit(&mut self, to: u8, micros: i64) -> Result<(), LedgerError> {
        let decided = audit_pay(
            &self.world.balances,
            issuer(0),
            owner(to),
            amount(micros),
            Digest::of(b"audit"),
        );
        self.world.book(decided)?;
        *self.earned.entry(owner(to).0).or_default() += micros;
        Ok(())
    }

    fn clear(&mut self, who: u8, micros: i64) -> Result<(), LedgerError> {
        let amounts = (amount(micros), amount(150));
        let between = (issuer(0), issuer(1));
        let decided =
            clear(&self.world.balances, between, owner(who), amounts, Digest::of(b"clear"));
        self.world.book(decided)?;
        *self.earned.entry(owner(who).0).or_default() -= micros;
        Ok(())
    }

    fn check(&self) {
        self.world.check().unwrap();
        for job in &self.jobs {
            let escrow = self.world.balances.balance(&job.accounts.escrow());
            let unspent = job.budget.budget.minus(job.budget.spent).unwrap();
            assert_eq!(
                escrow,
                if job.closed { Amount::ZERO } else { unspent },
                "escrow is budget less spent"
            );
        }
        for n in 0..4 {
            let earned = self.earned.get(&owner(n).0).copied().unwrap_or_default();
            let kind = AccountKind::Available { owner: owner(n) };
            assert_eq!(self.world.of(kind), earned, "earned credit comes from others alone");
        }
    }

    fn replay(&self) {
        let mut replayed = Balances::default();
        self.world.transfers.iter().for_each(|transfer| {
            replayed.apply(transfer).unwrap();
        });
        assert_eq!(replayed, self.world.balances);
        let clearing = |n, with| key(issuer(n), AccountKind::Clearing { with: issuer(with) });
        let (owed, claim) = (replayed.balance(&clearing(0, 1)), replayed.balance(&clearing(1, 0)));
        assert_eq!(owed.plus(claim), Ok(Amount::ZERO), "what one issuer owes the other one claims");
        assert!(owed <= amount(150));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_commands_keep_the_books_in_order(
        funds in prop::array::uniform4(1i64..700),
        first in submit(),
        commands in prop::collection::vec(command(), 6..24),
    ) {
        let mut network = Network::default();
        for (to, micros) in (0..).zip(funds) {
            let _over_the_limit = network.run(&Command::Grant { issuer: 0, to, micros });
        }
        for command in std::iter::once(&first).chain(&commands) {
            let before = network.world.balances.clone();
            if network.run(command).is_err() {
                prop_assert_eq!(&before, &network.world.balances, "what is refused changes nothing");
            }
            network.check();
        }
        network.replay();
    }
}
