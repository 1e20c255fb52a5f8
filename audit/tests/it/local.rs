//! Receipts of local runs: written, read, run again, and falsified.

use std::sync::Arc;

use tallymill_audit::{EvidenceError, LocalReceipt, VerifyError};
use tallymill_protocol::TaskIndex;
use tallymill_sandbox::{JobSpec, TaskSpec};

use crate::world::{FILE, World, executor};

fn receipt() -> (World, LocalReceipt, Arc<[u8]>) {
    let world = World::range();
    let task = world.task(0);
    let job = JobSpec {
        argv: vec!["--fast".into(), "\"\u{1F980}\"\n".into()],
        environment: vec![("A".into(), "1".into())],
        ..JobSpec::clone(&task.job)
    };
    let input: Arc<[u8]> = b"typed".as_slice().into();
    let spec = TaskSpec { job: Arc::new(job), index: TaskIndex(0), input: input.clone() };
    let again = tallymill_audit::Task { job: spec.job.clone(), input: input.clone(), ..task };
    let (prepared, result) = executor().run(&again, spec.index).unwrap();
    let receipt = LocalReceipt::new(&prepared, &spec, &result);
    (world, receipt, input)
}

#[test]
fn a_local_receipt_reads_back_and_holds() {
    let (world, receipt, input) = receipt();
    let text = receipt.to_json().unwrap();
    let read = LocalReceipt::from_json(text.as_bytes()).unwrap();
    assert_eq!(read, receipt);
    assert!(
        text.contains(&format!("\"fuel\": \"{}\"", receipt.fuel)),
        "64-bit numbers are text: {text}"
    );
    read.verify(&executor(), &world.module, input, &[FILE.into()]).unwrap();
}

#[test]
fn a_false_local_receipt_is_refused() {
    let (world, receipt, input) = receipt();
    let what = |receipt: LocalReceipt, files: &[Arc<[u8]>]| match receipt.verify(
        &executor(),
        &world.module,
        input.clone(),
        files,
    ) {
        Err(VerifyError::Mismatch(mismatch)) => mismatch.what,
        other => panic!("{other:?}"),
    };
    let mut cheaper = receipt.clone();
    cheaper.fuel -= 1;
    assert_eq!(what(cheaper, &[FILE.into()]), "fuel");
    assert_eq!(what(receipt.clone(), &[b"x".as_slice().into()]), "file");
    assert_eq!(what(receipt.clone(), &[]), "number of files");
    let mut unknown = receipt;
    unknown.outcome.kind = 99;
    let error =
        unknown.verify(&executor(), &world.module, input.clone(), &[FILE.into()]).unwrap_err();
    assert!(matches!(error, VerifyError::Outcome { kind: 99, .. }), "{error}");
}

#[test]
fn other_files_are_no_local_receipts() {
    let (_, receipt, _) = receipt();
    let text = receipt.to_json().unwrap();
    let refused = |from: &str, to: &str| {
        LocalReceipt::from_json(text.replacen(from, to, 1).as_bytes()).unwrap_err()
    };
    assert!(matches!(
        refused("\"version\": 1", "\"version\": 7"),
        EvidenceError::Kind { version: 7, .. }
    ));
    assert!(refused("\"task\"", "\"fool\": 0, \"task\"").to_string().contains("fool"));
    assert!(matches!(refused("\"seed\": \"", "\"seed\": \"x"), EvidenceError::Json(_)));
}
