//! Results as a stream: both orders, failures, cancellation, connections that are lost.

use tallymill_sdk::{Error, Order, Results, TaskResult};

use crate::fake::{Cut, Fake, Script, output};

/// Takes this many results, which must be there without waiting for more decisions.
async fn take(stream: &mut Results, count: usize) -> Vec<TaskResult> {
    let mut taken = Vec::new();
    while taken.len() < count {
        taken.push(stream.next().await.unwrap().unwrap());
    }
    taken
}

/// The rest, and how often it could not be asked for.
async fn rest(stream: &mut Results) -> (Vec<TaskResult>, usize) {
    let (mut rest, mut lost) = (Vec::new(), 0);
    loop {
        match stream.next().await {
            Ok(Some(result)) => rest.push(result),
            Ok(None) => return (rest, lost),
            Err(Error::Unreachable { .. }) => lost += 1,
            Err(error) => unreachable!("another error: {error:?}"),
        }
    }
}

fn tasks(results: &[TaskResult]) -> Vec<u32> {
    results.iter().map(|result| result.task).collect()
}

#[tokio::test]
async fn as_they_are_decided_results_do_not_wait_for_each_other() {
    let (fake, job) = Fake::start(Script::running(4, &[3, 1])).await;
    let mut stream = job.results();
    let first = take(&mut stream, 2).await;
    assert_eq!(tasks(&first), [3, 1]);
    assert_eq!((&first[0].output, first[0].fuel), (&Some(output(3)), Some(7)));
    fake.script().decided.extend([(2, Ok(output(2))), (0, Ok(output(0)))]);
    assert_eq!(tasks(&take(&mut stream, 2).await), [2, 0]);
    fake.script().state = "finished";
    assert_eq!(stream.next().await.unwrap(), None);
}

#[tokio::test]
async fn in_the_order_of_tasks_later_ones_wait_for_the_first() {
    let (fake, job) = Fake::start(Script::running(4, &[2, 1])).await;
    let mut stream = job.results().ordered(Order::Task);
    // Two whole looks and more, after which nothing may be handed out; and what was begun may be dropped.
    tokio::select! {
        early = stream.next() => unreachable!("task 0 is not decided: {early:?}"),
        () = fake.asked(5) => {}
    }
    fake.script().decided.push((0, Ok(output(0))));
    assert_eq!(tasks(&take(&mut stream, 3).await), [0, 1, 2]);
    fake.script().decided.push((3, Ok(output(3))));
    assert_eq!(tasks(&take(&mut stream, 1).await), [3]);
    fake.script().state = "finished";
    assert_eq!(stream.next().await.unwrap(), None);
}

#[tokio::test]
async fn a_failed_task_is_a_result_with_its_cause() {
    let mut script = Script::running(2, &[1]);
    script.decided.push((0, Err("no two hosts agree")));
    script.state = "finished";
    let (_fake, job) = Fake::start(script).await;
    let results = rest(&mut job.results().ordered(Order::Task)).await.0;
    let failed = TaskResult {
        task: 0,
        output: None,
        failure: Some("no two hosts agree".to_owned()),
        fuel: Some(7),
    };
    assert_eq!(results[0], failed);
    assert_eq!((results[1].task, &results[1].failure), (1, &None));
    let view = job.progress().await.unwrap();
    assert_eq!((view.final_tasks, view.failed_tasks, view.decided()), (1, 1, 2));
}

#[tokio::test]
async fn a_cancelled_job_ends_the_stream_with_what_was_decided() {
    for order in [Order::Decided, Order::Task] {
        let (fake, job) = Fake::start(Script::running(9, &[7, 0, 4])).await;
        let mut stream = job.results().ordered(order);
        let first = take(&mut stream, 1).await.remove(0).task;
        assert!(!job.progress().await.unwrap().is_over());
        job.cancel("no longer needed").await.unwrap();
        assert_eq!(fake.script().reason.as_deref(), Some("no longer needed"));
        let view = job.progress().await.unwrap();
        assert!(view.is_over() && view.state == "cancelled");
        let (left, _) = rest(&mut stream).await;
        let expected = if order == Order::Task { (0, [4, 7]) } else { (7, [0, 4]) };
        assert_eq!((first, tasks(&left)), (expected.0, expected.1.to_vec()));
        assert_eq!(stream.next().await.unwrap(), None, "it stays at its end");
    }
}

#[tokio::test]
async fn whichever_answer_is_lost_every_result_comes_once() {
    let decided = [3, 0, 4, 1, 2];
    for (order, expected) in [(Order::Decided, decided), (Order::Task, [0, 1, 2, 3, 4])] {
        for how in [Cut::Before, Cut::Within] {
            for at in 0.. {
                let mut script = Script::finished(&decided);
                script.cut = Some((at, how));
                let (fake, job) = Fake::start(script).await;
                let (results, lost) = rest(&mut job.results().ordered(order)).await;
                assert_eq!(tasks(&results), expected, "{order:?}, call {at} lost {how:?}");
                let whole = |result: &TaskResult| result.output == Some(output(result.task));
                assert!(results.iter().all(whole), "{results:?}");
                if fake.calls() <= at {
                    // Four looks, and five outputs.
                    assert_eq!((at, lost), (9, 0), "every call was lost once");
                    break;
                }
                assert_eq!(lost, 1, "the loss of call {at} is told");
            }
        }
    }
}

#[tokio::test]
async fn a_stream_that_is_dropped_while_it_waits_loses_nothing() {
    let (fake, job) = Fake::start(Script::finished(&[1, 0, 2])).await;
    let mut stream = job.results();
    let mut results = Vec::new();
    while results.len() < 3 {
        // Each look is given up after one more call than the one before.
        for calls in 1.. {
            tokio::select! {
                biased;
                () = fake.asked(calls) => {}
                next = stream.next() => {
                    results.push(next.unwrap().unwrap());
                    break;
                }
            }
        }
    }
    assert_eq!(tasks(&results), [1, 0, 2]);
    assert_eq!(stream.next().await.unwrap(), None);
}

/// Hands out the results of three tasks of which the output of task 0 cannot be had; gives the reason.
async fn without_task_0(script: Script, order: Order) -> Error {
    let (_fake, job) = Fake::start(script).await;
    let mut stream = job.results().ordered(order).tries(3);
    let (mut results, mut errors) = (Vec::new(), Vec::new());
    // One call for each task; the stream ends with the next.
    for _ in 0..3 {
        match stream.next().await {
            Ok(result) => results.extend(result),
            Err(error) => errors.push(error),
        }
    }
    assert_eq!((tasks(&results), errors.len()), (vec![1, 2], 1), "{order:?}: {errors:?}");
    assert_eq!(stream.next().await.unwrap(), None);
    match errors.remove(0) {
        Error::Output { task: 0, source } => *source,
        error => unreachable!("it names task 0: {error:?}"),
    }
}

#[tokio::test]
async fn an_output_that_cannot_be_had_is_told_once_and_passed_over() {
    for order in [Order::Decided, Order::Task] {
        let mut script = Script::finished(&[1, 0, 2]);
        script.swapped = Some(0);
        let error = without_task_0(script, order).await;
        assert!(matches!(error, Error::Corrupt(_)), "{error:?}");
        for status in [404, 500, 502] {
            let mut script = Script::finished(&[1, 0, 2]);
            script.refused = Some((0, status));
            let error = without_task_0(script, order).await;
            assert!(matches!(&error, Error::Refused(told) if told.status == status), "{error:?}");
        }
    }
}

#[tokio::test]
async fn a_busy_coordinator_is_asked_for_the_same_output_again() {
    for order in [Order::Decided, Order::Task] {
        let mut script = Script::finished(&[0, 1, 2]);
        script.refused = Some((1, 503));
        let (fake, job) = Fake::start(script).await;
        let mut stream = job.results().ordered(order);
        assert_eq!(tasks(&take(&mut stream, 1).await), [0]);
        for _ in 0..2 {
            let error = stream.next().await.unwrap_err();
            assert!(matches!(error, Error::Busy(_)), "{error:?}");
        }
        fake.script().refused = None;
        assert_eq!(tasks(&rest(&mut stream).await.0), [1, 2]);
    }
}

#[tokio::test]
async fn in_the_order_of_tasks_outputs_are_downloaded_when_their_turn_comes() {
    let mut script = Script::running(4, &[3, 2, 1]);
    script.inline = false;
    let (fake, job) = Fake::start(script).await;
    let mut stream = job.results().ordered(Order::Task);
    tokio::select! {
        early = stream.next() => unreachable!("task 0 is not decided: {early:?}"),
        () = fake.asked(5) => {}
    }
    assert_eq!(fake.script().downloads, [0; 0]);
    fake.script().decided.push((0, Ok(output(0))));
    for task in 0..4 {
        assert_eq!(take(&mut stream, 1).await[0].output, Some(output(task)));
        assert_eq!(fake.script().downloads, (0..=task).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn small_outputs_that_wait_are_kept_up_to_a_limit() {
    let wide = |task: u8| vec![task; 5 << 18];
    let mut script = Script::running(5, &[]);
    // 1.7 million bytes each in base64, of which two fit.
    script.decided = (1..5).map(|task| (u32::from(task), Ok(wide(task)))).collect();
    let (fake, job) = Fake::start(script).await;
    let mut stream = job.results().ordered(Order::Task);
    tokio::select! {
        early = stream.next() => unreachable!("task 0 is not decided: {early:?}"),
        () = fake.asked(3) => {}
    }
    fake.script().decided.push((0, Ok(wide(0))));
    for task in 0..5 {
        assert!(take(&mut stream, 1).await[0].output == Some(wide(task)), "task {task}");
    }
    // Task 0 found no room either.
    assert_eq!(fake.script().downloads, [0, 3, 4]);
}

#[tokio::test]
async fn a_lost_connection_is_tried_again_as_often_as_told() {
    for at in [0, 2] {
        let mut script = Script::finished(&[1, 0]);
        script.cut = Some((at, Cut::Within));
        let (_fake, job) = Fake::start(script).await;
        let (results, lost) = rest(&mut job.results().ordered(Order::Task).tries(2)).await;
        assert_eq!((tasks(&results), lost), (vec![0, 1], 0), "call {at}");
    }
    let mut script = Script::finished(&[0]);
    script.dead = Some(("/results", Cut::Before));
    let (fake, job) = Fake::start(script).await;
    let error = job.results().tries(3).next().await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
    assert_eq!(fake.calls(), 3, "three looks");
}

#[tokio::test]
async fn lost_connections_with_an_answer_between_them_are_not_in_a_row() {
    let mut script = Script::running(1, &[]);
    script.cut = Some((0, Cut::Before));
    let (fake, job) = Fake::start(script).await;
    let mut stream = job.results().tries(2);
    let decide = async {
        fake.asked(3).await;
        fake.script().cut = Some((fake.calls(), Cut::Before));
        fake.asked(3).await;
        fake.script().decided.push((0, Ok(output(0))));
        std::future::pending::<()>().await;
    };
    let result = tokio::select! {
        result = stream.next() => result,
        () = decide => unreachable!("it has no end"),
    };
    assert_eq!(result.unwrap().unwrap().output, Some(output(0)));
}

#[tokio::test]
async fn a_login_that_is_cut_off_is_a_lost_connection() {
    for path in ["/network", "/login/challenge", "/login"] {
        for how in [Cut::Before, Cut::Within] {
            let mut script = Script::running(1, &[]);
            script.dead = Some((path, how));
            let error = Fake::connect(script).await.1.unwrap_err();
            assert!(matches!(error, Error::Unreachable { .. }), "{path} {how:?}: {error:?}");
        }
    }
}

#[tokio::test]
async fn a_refusal_is_told_with_its_status() {
    let (_fake, job) = Fake::start(Script::finished(&[0])).await;
    let refused = job.task(0).await.unwrap_err();
    assert!(matches!(&refused, Error::Refused(problem) if problem.status == 404), "{refused:?}");
}
