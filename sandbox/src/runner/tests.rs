//! Who answers for a child's death.

use super::*;
use tallymill_protocol::Limits;

type Answers = Vec<(usize, Result<TaskResult, Void>)>;

/// A batch of four tasks that were all sent, then a death; answers, and what is to be sent again.
fn death(fuel: Option<u64>, careful: bool, sent: usize) -> (Answers, Vec<usize>, bool) {
    let job = Arc::new(JobSpec::new(Limits::default()));
    let task =
        |index| TaskSpec { job: job.clone(), index: TaskIndex(index), input: Arc::from(&b"x"[..]) };
    let tasks: Vec<_> = (0..4).map(task).collect();
    let control = Control::new().unwrap();
    let mut answers = Vec::new();
    let mut on_result = |position, result| answers.push((position, result));
    let mut batch = Batch {
        unsent: (sent..4).collect(),
        sent: (0..sent).map(|position| Waiting { position, number: 0 }).collect(),
        sent_bytes: sent,
        fuel,
        careful,
        ..Batch::new(&tasks, &control, &mut on_result)
    };
    batch.after_death(Void::new(VoidCause::ChildDied, "test"));
    assert!(batch.sent.is_empty() && batch.sent_bytes == 0 && batch.fuel.is_none());
    let (unsent, careful) = (batch.unsent.iter().copied().collect(), batch.careful);
    (answers, unsent, careful)
}

#[test]
fn a_task_the_child_spoke_of_answers_for_its_death() {
    let (answers, unsent, careful) = death(Some(0), false, 3);
    assert_eq!((answers.len(), answers[0].0, unsent, careful), (1, 0, vec![1, 2, 3], false));
    assert_eq!(answers[0].1.clone().unwrap_err().cause, VoidCause::ChildDied);
}

#[test]
fn a_death_nobody_can_be_blamed_for_yet_voids_nothing() {
    let (answers, unsent, careful) = death(None, false, 3);
    assert_eq!((answers.len(), unsent, careful), (0, vec![0, 1, 2, 3], true));
}

#[test]
fn a_task_sent_alone_answers_for_the_death() {
    let (answers, unsent, _) = death(None, true, 1);
    assert_eq!((answers.len(), answers[0].0, unsent), (1, 0, vec![1, 2, 3]));
}

#[test]
fn figures_above_the_limits_are_not_believed() {
    let limits = Limits { fuel: 10, memory: 65_536, output: 2, log: 2, ..Limits::default() };
    let job = Arc::new(JobSpec::new(limits));
    let task = TaskSpec { job, index: TaskIndex(0), input: Arc::from(&b"in"[..]) };
    let honest = TaskResult {
        fuel: 10,
        peak_memory: 65_536,
        output: vec![0; 2],
        ..TaskResult::without_running(Outcome::Exited(0), 2)
    };
    assert_eq!(plausible(&task, None, &honest), Ok(()));
    let refused = |change: fn(&mut TaskResult)| {
        let mut result = honest.clone();
        change(&mut result);
        plausible(&task, None, &result).unwrap_err()
    };
    assert!(refused(|r| r.fuel = 11).contains("fuel"));
    assert!(refused(|r| r.peak_memory = 131_072).contains("memory"));
    assert!(refused(|r| r.output = vec![0; 3]).contains("output"));
    assert!(refused(|r| r.log = vec![0; 3]).contains("log"));
    assert!(refused(|r| r.bytes_in = 3).contains("input"));
}
