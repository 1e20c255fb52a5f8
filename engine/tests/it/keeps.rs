//! What jobs need, whose room it takes, and who may keep results.

use tallymill_engine::rows::{ChargeRow, HoldKind, UseRow};
use tallymill_engine::{Command, Refusal};
use tallymill_protocol::{Digest, JobId, Policy};

use crate::world::*;

fn keep(job: JobId, by: u8, reason: Option<&str>) -> Command {
    let reason = reason.map(str::to_owned);
    Command::Keep { job, by: account(by), of: [account(2), account(2)], reason }
}

/// The batch of one command that is not refused.
fn kept(world: &mut World, command: Command) -> tallymill_engine::rows::Batch {
    world.send(command);
    world.last.clone()
}

#[test]
fn payers_keep_in_their_name_and_operators_in_that_of_the_network() {
    let mut world = World::new();
    let job = JobId([7; 32]);
    let own = kept(&mut world, keep(job, 2, Some("for a paper")));
    let hold = &own.holds[0];
    assert_eq!(
        (hold.kind, hold.account, hold.reason.as_str()),
        (HoldKind::Payer, account(2), "for a paper")
    );
    assert!(own.admin.is_empty(), "what people keep of their own is no act of an operator");
    let other = kept(&mut world, keep(job, 1, Some("a dispute")));
    assert_eq!((other.holds[0].kind, other.admin[0].action), (HoldKind::Operator, "keep"));
    let refused = world.refused(keep(job, 3, Some("mine")));
    assert!(matches!(refused, Refusal::Forbidden { .. }), "{refused}");
    let long = world.refused(keep(job, 2, Some(&"x".repeat(501))));
    assert!(long.to_string().contains("at most 500 bytes"), "{long}");
}

#[test]
fn a_payer_ends_the_own_hold_and_an_operator_any() {
    let mut world = World::new();
    let job = JobId([7; 32]);
    let own = kept(&mut world, keep(job, 2, None));
    assert!(own.released.iter().all(|released| *released == (job, HoldKind::Payer)));
    let both = kept(&mut world, keep(job, 1, None)).released;
    assert_eq!(both, [(job, HoldKind::Payer), (job, HoldKind::Operator)]);
    // Of several in one batch the last one counts.
    world.post(keep(job, 2, Some("yes")));
    let last = kept(&mut world, keep(job, 2, None));
    assert!(last.holds.is_empty());
}

#[test]
fn a_job_names_what_it_needs_and_its_results_are_its_payers() {
    let mut world = World::with_hosts(2);
    let manifest = manifest(1, Policy::Quorum { n: 2 });
    let job = world.submit(&manifest);
    let needs = world.last.clone().uses;
    assert_eq!(needs, [UseRow { digest: manifest.module, job }]);
    for host in [3, 4] {
        let lease = world.lease(host).remove(0);
        let mut receipt = world.receipt(&lease, 0, Run::honest(0));
        receipt.receipt.bytes_out = 1 << 17;
        receipt.receipt.output = Digest([9; 32]);
        (receipt.output, receipt.log) = (None, Some(Vec::new()));
        let report = world.report(host, vec![receipt]);
        world.send_report(host, report);
        let batch = world.last.clone();
        assert_eq!(batch.uses, [UseRow { digest: Digest([9; 32]), job }]);
        let charges = if host == 3 { Vec::new() } else { vec![3, 4] };
        let from =
            |owner| ChargeRow { digest: Digest([9; 32]), from: account(owner), to: account(2) };
        assert_eq!(batch.charges, charges.into_iter().map(from).collect::<Vec<_>>());
    }
}
