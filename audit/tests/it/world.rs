//! A submitter, a coordinator and a host, and what they sign.

use std::sync::Arc;
use std::time::Duration;

use tallymill_audit::{Evidence, Executor, TableProof, Task};
use tallymill_protocol::Message as _;
use tallymill_protocol::cbor::{List, Text};
use tallymill_protocol::{
    AttemptId, Digest, File, HostId, Inputs, Interface, Keypair, Lease, Limits, Manifest, Micros,
    Network, Nonce, Outcome, Policy, Receipt, Report, Requirements, TableEntry, Tariff, TaskIndex,
    Visibility, merkle,
};
use tallymill_sandbox::{ENGINE_NAME, JobSpec, Launcher, versions};

/// Copies the first 64 bytes of its input and of its file "f" to its output, and a word to its log.
pub const GUEST: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "path_open"
        (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 0) "\40\00\00\00\40\00\00\00") (data (i32.const 32) "f") (data (i32.const 128) "\20\00\00\00\01\00\00\00")
    (func $copy (param $from i32)
        (i32.store (i32.const 4) (i32.const 64))
        (drop (call $read (local.get $from) (i32.const 0) (i32.const 1) (i32.const 8)))
        (i32.store (i32.const 4) (i32.load (i32.const 8)))
        (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))))
    (func (export "_start")
        (call $copy (i32.const 0))
        (drop (call $open (i32.const 3) (i32.const 0) (i32.const 32) (i32.const 1) (i32.const 0) (i64.const 2) (i64.const 0)
            (i32.const 0) (i32.const 16)))
        (call $copy (i32.load (i32.const 16)))
        (drop (call $write (i32.const 2) (i32.const 128) (i32.const 1) (i32.const 8)))))"#;

/// The bytes of the file "f".
pub const FILE: &[u8] = b" and a file";

pub fn executor() -> Executor<'static> {
    let launcher = Launcher::program(env!("CARGO_BIN_EXE_audit-child"));
    Executor { cache: None, launcher, wall: Duration::from_secs(600) }
}

pub fn limits() -> Limits {
    Limits { fuel: 1_000_000_000, memory: 1 << 20, output: 1 << 16, ..Limits::default() }
}

pub struct World {
    pub submitter: Keypair,
    pub coordinator: Keypair,
    pub host: Keypair,
    pub module: Vec<u8>,
    pub manifest: Manifest,
    pub lease: Lease,
    pub receipts: Vec<Receipt>,
    pub report: Report,
    pub entry: Option<TableProof>,
    inputs: Vec<Vec<u8>>,
}

fn manifest(submitter: &Keypair, coordinator: &Keypair, module: &[u8], inputs: Inputs) -> Manifest {
    Manifest {
        format: 1,
        network: Network::new("test").unwrap(),
        coordinators: List(vec![coordinator.public().into()]),
        delegates: List::default(),
        nonce: Nonce([4; 16]),
        payer: submitter.public().into(),
        submitter: submitter.public().into(),
        module: Digest::of(module),
        versions: versions(),
        inputs,
        limits: limits(),
        seed: [6; 32],
        argv: List::default(),
        environment: List::default(),
        files: List(vec![File {
            name: Text("f".into()),
            blob: Digest::of(FILE),
            length: FILE.len() as u64,
        }]),
        policy: Policy::Trusted,
        tariff: Tariff::default(),
        budget: 1_000_000,
        deadline: Micros(1),
        priority: 0,
        tags: List::default(),
        visibility: Visibility::Public,
        requirements: Requirements::default(),
        title: Text(String::new()),
        interface: Interface::Command,
        steps: None,
    }
}

impl World {
    /// A job over the numbers from 40 on.
    pub fn range() -> Self {
        let inputs = Inputs::Range { from: 40, count: 3 };
        let texts = (0..3).map(|index| inputs.range_input(index).unwrap()).collect();
        Self::new(inputs, texts, None)
    }

    /// A job over a table of three texts.
    pub fn table() -> Self {
        let texts: Vec<Vec<u8>> =
            ["one", "two", "three"].map(|text| text.as_bytes().to_vec()).into();
        let entry = |text: &Vec<u8>| TableEntry {
            offset: 144,
            length: text.len() as u64,
            digest: Digest::of(text),
        };
        let entries: Vec<_> = texts.iter().map(|text| entry(text).to_bytes().to_vec()).collect();
        let leaves: Vec<_> = entries.iter().map(|entry| merkle::leaf(entry)).collect();
        let inputs =
            Inputs::Table { root: merkle::root(&leaves), count: 3, blob: Digest::of(b"blob") };
        let proof =
            TableProof { entry: entries[1].clone(), proof: merkle::range_proof(&leaves, 1, 2) };
        Self::new(inputs, texts, Some(proof))
    }

    fn new(inputs: Inputs, texts: Vec<Vec<u8>>, entry: Option<TableProof>) -> Self {
        let [submitter, coordinator, host] = [1, 2, 3].map(|n| Keypair::from_secret(&[n; 32]));
        let module = wat::parse_str(GUEST).unwrap();
        let manifest = manifest(&submitter, &coordinator, &module, inputs);
        let lease = Lease {
            format: 1,
            network: manifest.network.clone(),
            coordinator: coordinator.public().into(),
            epoch: 5,
            job: manifest.id(),
            first: TaskIndex(0),
            count: 3,
            attempt: AttemptId([7; 16]),
            host: HostId::from(host.public()),
            owner: submitter.public().into(),
            payer: manifest.payer,
            tariff: manifest.tariff,
            limits: manifest.limits,
            versions: manifest.versions,
            nonce: Nonce([8; 16]),
            issued: Micros(1),
            expiry: Micros(2),
            module: manifest.module,
        };
        let report = Report {
            format: 1,
            network: manifest.network.clone(),
            host: lease.host,
            count: 0,
            root: Digest::ZERO,
            sequence: 0,
            previous: Digest::ZERO,
            coordinator: lease.coordinator,
            epoch: lease.epoch,
        };
        let mut world = Self {
            submitter,
            coordinator,
            host,
            module,
            manifest,
            lease,
            receipts: Vec::new(),
            report,
            entry,
            inputs: texts,
        };
        world.run();
        world
    }

    /// The host's work: every task, honestly.
    fn run(&mut self) {
        for index in 0..3 {
            let (prepared, result) = executor().run(&self.task(index), TaskIndex(index)).unwrap();
            assert_eq!(result.outcome, Outcome::Exited(0));
            self.receipts.push(Receipt {
                format: 1,
                lease: self.lease.digest(),
                task: TaskIndex(index),
                input: Digest::of(&self.inputs[index as usize]),
                output: Digest::of(&result.output),
                outcome: result.outcome,
                fuel: result.fuel,
                peak_memory: result.peak_memory,
                memory_fuel: result.memory_fuel,
                bytes_in: result.bytes_in,
                bytes_out: result.bytes_out,
                module: prepared.original,
                metered: prepared.metered,
                log: Digest::of(&result.log),
                segment: None,
                engine: Text(ENGINE_NAME.into()),
                cpu_time: result.cpu_time_us,
                started: Micros(1),
                finished: Micros(2),
                salt: [u8::try_from(index).unwrap(); 32],
            });
        }
    }

    /// What a stranger puts together to run task `index` again.
    pub fn task(&self, index: u32) -> Task<'_> {
        let job = JobSpec::from_manifest(&self.manifest, &[FILE.into()]).unwrap();
        let input = self.inputs[index as usize].as_slice().into();
        Task { module: &self.module, job: Arc::new(job), versions: self.manifest.versions, input }
    }

    /// Signs everything as it now stands and makes evidence for task 1.
    pub fn evidence(&self) -> Evidence {
        let encoded: Vec<_> = self.receipts.iter().map(|receipt| receipt.to_bytes()).collect();
        let leaves: Vec<_> = encoded.iter().map(|bytes| merkle::leaf(bytes)).collect();
        let report = Report { count: 3, root: merkle::root(&leaves), ..self.report.clone() };
        let signed = (
            self.submitter.sign(&self.manifest),
            self.coordinator.sign(&self.lease),
            self.host.sign(&report),
        );
        Evidence::of_report(signed, &encoded, 1, self.entry.clone()).unwrap()
    }
}
