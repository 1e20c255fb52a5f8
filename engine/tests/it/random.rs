//! Random lives of a small network: after every commit the books and the slots are in order.
//!
//! The world checks after each batch, from rows alone: credit sums to zero, floors hold, each paid result is paid once at its
//! price, an owner votes once on a task, a task is decided once, reserved credit is covered, pages agree with tasks.

use proptest::prelude::*;
use tallymill_engine::Ask;
use tallymill_engine::rows::{JobState, SuspensionKind};
use tallymill_protocol::work::VoidCause;
use tallymill_protocol::{AttemptId, Digest, JobId, Lease, Nonce, Outcome, Policy, Receipt, Trap};

use crate::chains::{Given, SEGMENT, stepped};
use crate::world::*;

#[derive(Debug, Clone, Copy)]
enum Action {
    Submit { count: u32, n: u8, budget: u64, task_fee: u64, long: bool },
    Step { pick: usize, how: How },
    Work { host: u8, slots: u32, wait: u64, holds: u8 },
    Report { pick: usize, how: How },
    Replay { pick: usize },
    Void { pick: usize, cause: u8 },
    Progress { pick: usize },
    Cancel { pick: usize },
    Suspend { host: u8 },
    Lift { host: u8 },
    Pass { seconds: u64 },
    Restart,
}

#[derive(Debug, Clone, Copy)]
enum How {
    Honest,
    Half,
    Wrong(u8),
    Trapped,
    Stopped,
    Inflated,
    /// One receipt of its lease, which is refused: the lease stays open.
    Doubted,
}

fn how() -> impl Strategy<Value = How> {
    prop_oneof![
        6 => Just(How::Honest),
        2 => Just(How::Half),
        2 => (0..3u8).prop_map(How::Wrong),
        1 => Just(How::Trapped),
        2 => Just(How::Stopped),
        1 => Just(How::Inflated),
        3 => Just(How::Doubted),
    ]
}

fn action() -> impl Strategy<Value = Action> {
    let pick = || any::<usize>();
    prop_oneof![
        2 => (1..30u32, 1..4u8, 1_000..200_000u64, 0..3u64, any::<bool>())
            .prop_map(|(count, n, budget, task_fee, long)| Action::Submit { count, n, budget, task_fee, long }),
        8 => (pick(), how()).prop_map(|(pick, how)| Action::Step { pick, how }),
        8 => (2..9u8, 1..6u32, 0..2u64, 0..4u8).prop_map(|(host, slots, wait, holds)| {
            Action::Work { host, slots, wait, holds }
        }),
        8 => (pick(), how()).prop_map(|(pick, how)| Action::Report { pick, how }),
        1 => pick().prop_map(|pick| Action::Replay { pick }),
        2 => (pick(), 0..9u8).prop_map(|(pick, cause)| Action::Void { pick, cause }),
        1 => pick().prop_map(|pick| Action::Progress { pick }),
        1 => pick().prop_map(|pick| Action::Cancel { pick }),
        1 => (3..9u8).prop_map(|host| Action::Suspend { host }),
        2 => (3..9u8).prop_map(|host| Action::Lift { host }),
        2 => (1..90u64).prop_map(|seconds| Action::Pass { seconds }),
        1 => Just(Action::Restart),
    ]
}

/// A life, with every lease ever given and every report ever sent.
struct Life {
    world: World,
    leases: Vec<(u8, Lease)>,
    /// Leases of long tasks, with where they began.
    given: Vec<(u8, Given)>,
    sent: Vec<(u8, tallymill_engine::CheckedReport)>,
    jobs: Vec<JobId>,
    waiting: Vec<(u64, u8)>,
}

impl Life {
    fn new() -> Self {
        let mut world = World::new();
        (2..9).for_each(|number| world.join(number, if number == 8 { 7 } else { number }));
        Self {
            world,
            leases: Vec::new(),
            given: Vec::new(),
            sent: Vec::new(),
            jobs: Vec::new(),
            waiting: Vec::new(),
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Submit { count, n, budget, task_fee, long } => {
                self.submit(count, n, (budget, task_fee), long);
            }
            Action::Step { pick, how } => self.step(pick, how),
            Action::Work { host, slots, wait, holds } => {
                let ask = Ask {
                    slots,
                    wait: wait * SECOND,
                    held: self.held(host, holds),
                    ..World::ask()
                };
                let token = self.world.post(self.world.call(host, ask, Vec::new()));
                self.world.flush();
                self.waiting.push((token, host));
            }
            Action::Report { pick, how } => self.report(pick, how),
            Action::Replay { pick } => self.replay(pick),
            Action::Void { pick, cause } => {
                if let Some((number, lease)) = chosen(&self.leases, pick) {
                    let task = lease.first.0 + u32::try_from(pick % 5).unwrap();
                    self.world.void(number, &lease, task, VoidCause::from_code(cause));
                }
            }
            Action::Progress { pick } => {
                if let Some((number, lease)) = chosen(&self.leases, pick) {
                    self.world.progress(number, &lease);
                }
            }
            Action::Cancel { pick } => {
                if let Some(job) = chosen(&self.jobs, pick) {
                    self.world.cancel(job);
                }
            }
            Action::Suspend { host: number } => {
                self.world.suspend(SuspensionKind::Host, host(number).0);
            }
            Action::Lift { host: number } => self.lift(number),
            Action::Pass { seconds } => self.world.pass(seconds * SECOND),
            Action::Restart => self.restart(),
        }
        self.collect();
    }

    /// What a host says that it holds: nothing of it, none, half or all of what it ever got.
    fn held(&self, host: u8, holds: u8) -> Option<Vec<AttemptId>> {
        let every = |at: usize| holds > 1 && at.is_multiple_of(4 - usize::from(holds));
        let commands = self.leases.iter().map(|(number, lease)| (*number, lease.attempt));
        let long = self.given.iter().map(|(number, given)| (*number, given.0.attempt));
        let all = commands.chain(long).filter(|(number, _)| *number == host).enumerate();
        let held = all.filter(|(at, _)| every(*at)).map(|(_, (_, attempt))| attempt);
        (holds > 0).then(|| held.collect())
    }

    fn submit(&mut self, count: u32, n: u8, (budget, task_fee): (u64, u64), long: bool) {
        let policy = if n == 1 { Policy::Trusted } else { Policy::Quorum { n } };
        let (mut manifest, budget) = match long {
            // A long task costs up to 42,000 micro-credits and its fees, a short one 1,000.
            true => (stepped(count, policy), budget * 10),
            false => (manifest(count, policy), budget),
        };
        manifest.nonce = Nonce([u8::try_from(self.jobs.len()).unwrap(); 16]);
        manifest.budget = budget;
        manifest.tariff.task = task_fee;
        manifest.tariff.compile = task_fee;
        manifest.deadline = self.world.now.plus(600 * SECOND);
        match self.world.send(World::submission(&manifest)) {
            Some(tallymill_engine::Reply::Submitted { job, .. }) => self.jobs.push(job),
            Some(tallymill_engine::Reply::Refused(_)) => {}
            other => panic!("{other:?}"),
        }
    }

    fn report(&mut self, pick: usize, how: How) {
        let Some((number, lease)) = chosen(&self.leases, pick) else { return };
        let count = match how {
            How::Half => lease.count.div_ceil(2),
            How::Doubted => 1,
            _ => lease.count,
        };
        let run = |task: u32| match how {
            How::Honest | How::Half => Run::honest(task),
            How::Wrong(how) => Run::wrong(task, u64::from(how)),
            How::Trapped => {
                Run { outcome: Outcome::FuelExhausted, fuel: 1_000_000, ..Run::honest(task) }
            }
            How::Stopped => Run::stopped(u64::from(task)),
            How::Inflated | How::Doubted => Run { fuel: 1_000_001, ..Run::honest(task) },
        };
        let tasks = lease.first.0..lease.first.0 + count;
        let receipts = tasks.map(|task| self.world.receipt(&lease, task, run(task))).collect();
        let report = self.world.report(number, receipts);
        self.sent.push((number, report.clone()));
        let answer = self.world.send_report(number, report);
        assert_eq!(answer.verdicts.len(), count as usize, "{}", answer.reason);
    }

    fn step(&mut self, pick: usize, how: How) {
        let Some((number, given)) = chosen(&self.given, pick) else { return };
        let change = |receipt: &mut Receipt| {
            let segment = receipt.segment.as_mut().unwrap();
            match how {
                How::Honest | How::Half => {}
                How::Wrong(how) => {
                    receipt.output = Digest::of(&[how]);
                    segment.after = Digest::of(&[how, 1]);
                }
                How::Trapped => {
                    receipt.outcome = Outcome::Trapped(Trap::Unreachable);
                    segment.after = Digest::ZERO;
                }
                How::Stopped => {
                    let fuel = receipt.fuel / 2;
                    (receipt.outcome, receipt.fuel, receipt.memory_fuel) =
                        (Outcome::Stopped, fuel, fuel);
                    (segment.after, segment.fuel_after) =
                        (Digest::ZERO, segment.fuel_before + fuel);
                }
                How::Inflated | How::Doubted => {
                    receipt.fuel += SEGMENT;
                    segment.fuel_after += SEGMENT;
                }
            }
        };
        let receipts = vec![self.world.part(&given, change)];
        let report = self.world.report(number, receipts);
        self.sent.push((number, report.clone()));
        let answer = self.world.send_report(number, report);
        assert_eq!(answer.verdicts.len(), 1, "{}", answer.reason);
    }

    fn replay(&mut self, pick: usize) {
        let Some((number, mut report)) = chosen(&self.sent, pick) else { return };
        report.known =
            self.world.store.reports.get(&report.report.root).map(|row| row.verdicts.clone());
        let before = self.world.store.transfers.len();
        let answer = self.world.send_report(number, report.clone());
        assert_eq!(answer.verdicts.len(), report.receipts.len());
        assert_eq!(self.world.store.transfers.len(), before, "a replay moves no credit");
    }

    /// A start finds every job as it was.
    fn restart(&mut self) {
        let seen = |life: &Self| {
            let views =
                life.jobs.iter().filter_map(|job| Some((*job, life.world.engine.job(*job)?)));
            let held = |(job, view): (JobId, tallymill_engine::JobView)| {
                (job, view.leased, view.reserved, view.undecided)
            };
            views.map(held).collect::<Vec<_>>()
        };
        let before = seen(self);
        self.world.restart();
        assert_eq!(seen(self), before);
    }

    fn lift(&mut self, number: u8) {
        let (by, kind, subject) = (OPERATOR, SuspensionKind::Host, host(number).0);
        let reason = String::new();
        self.world.send(tallymill_engine::Command::Lift { by, kind, subject, reason, once: None });
    }

    fn collect(&mut self) {
        for (token, number) in std::mem::take(&mut self.waiting) {
            match self.world.replies.remove(&token) {
                Some(tallymill_engine::Reply::Work(answer)) => {
                    for granted in answer.grants {
                        self.leases.push((number, granted.lease.clone()));
                        let start = granted.states.first().copied();
                        self.given.extend(start.map(|start| (number, (granted.lease, start))));
                    }
                }
                Some(other) => panic!("{other:?}"),
                None => self.waiting.push((token, number)),
            }
        }
    }

    /// Everything ends: jobs by their deadline, leases by their grace, and all credit is somebody's.
    fn end(&mut self) {
        self.world.pass(700 * SECOND);
        self.world.pass(700 * SECOND);
        self.world.restart();
        let store = &self.world.store;
        let live = |state| matches!(state, JobState::Running | JobState::Stopping);
        assert!(!store.jobs.values().any(|job| live(job.state)));
        assert!(store.leases.is_empty());
        let owned: i64 =
            (1..10).map(|n| store.available(account(n)) + store.granted(account(n))).sum();
        assert_eq!(owned, 100_000_000);
    }
}

fn chosen<T: Clone>(items: &[T], pick: usize) -> Option<T> {
    items.get(pick.checked_rem(items.len())?).cloned()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_books_are_in_order_whatever_happens(actions in prop::collection::vec(action(), 1..120)) {
        let mut life = Life::new();
        actions.into_iter().for_each(|action| life.act(action));
        life.end();
    }
}
