//! Guests that mean harm, through a whole network: each is contained as the table says, its owner is told, and everybody goes on.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use tallymill_hostile::{Contained, Guest, benign, corpus};
use tallymill_protocol::work::VoidCause;
use tallymill_protocol::{AccountId, Digest, TaskIndex};
use tallymill_sandbox::{Control, JobSpec, Launcher, TaskSpec};
use tallymill_worker::{Execute, Placement, Sandboxed};

use crate::world::{Network, Part, binary, call, command, number, until};

/// A network whose workers are watched.
struct Besieged {
    network: Network,
    workers: Vec<u32>,
}

impl Besieged {
    fn start() -> Self {
        let network = Network::start(2);
        let workers = network.workers.iter().map(Part::id).collect();
        Self { network, workers }
    }

    fn file(&self, name: &str, module: &[u8]) -> PathBuf {
        let path = self.network.folder.path().join(name).with_extension("wasm");
        std::fs::write(&path, module).unwrap();
        path
    }

    fn words(&self, guest: &Guest) -> Vec<String> {
        let file = self.file(guest.name, &guest.module());
        let [fuel, memory, output] =
            [guest.fuel, guest.memory, guest.output].map(|n| n.to_string());
        let words = ["submit", file.to_str().unwrap(), "--range", "0..=0", "--quorum", "2"];
        let limits = ["--fuel", &fuel, "--memory", &memory, "--output", &output];
        words.iter().chain(&limits).map(|word| (*word).to_owned()).collect()
    }

    /// What the submitter is told, on both streams, and whether the job was taken.
    fn submit(&self, guest: &Guest) -> Result<String, String> {
        let words = self.words(guest);
        let said = self.network.tell(&words.iter().map(String::as_str).collect::<Vec<_>>());
        if said.code != 0 {
            return Err(said.out + &said.err);
        }
        Ok(said.json()[0]["id"].as_str().unwrap().to_owned())
    }

    /// The only result of a job that is over.
    fn result(&self, job: &str) -> Value {
        self.network.until_over(job);
        let said = self.network.tell(&["job", "results", job]);
        serde_json::from_str(said.out.lines().next().unwrap()).unwrap()
    }

    /// What a worker says of itself, by number from 1; nothing while it cannot be asked yet.
    fn says(&self, number: usize) -> String {
        let mut command = command(self.network.folder.path());
        let state = format!("worker-{number}");
        call(command.args(["worker", "--state", &state, "status"]), b"").out
    }

    /// Fails unless the workers are those of the beginning and do honest work.
    fn goes_on(&self) {
        let file = self.file("benign", &benign());
        let job = self.network.submit(&file, "7..=9", &["--quorum", "2", "--fuel", "1000000"]);
        assert_eq!(self.network.until_over(&job)["state"], "finished");
        let results = self.network.tell(&["job", "results", &job]).json();
        let outputs: Vec<_> = results.iter().map(|result| result["output"].clone()).collect();
        assert_eq!(outputs, ["7\n", "8\n", "9\n"]);
        for (number, process) in (1..).zip(&self.workers) {
            let idle = |said: &String| said.starts_with("Not working: ");
            until("an idle worker", || self.says(number), idle);
            assert_eq!(self.network.workers[number - 1].id(), *process);
        }
        self.network.audit();
    }
}

/// What a malicious coordinator would reach: the worker's own way from a module's bytes to a child.
struct Handed {
    sandbox: Sandboxed,
    _folder: tempfile::TempDir,
}

impl Handed {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let launcher = Launcher::program(binary());
        let wall = Duration::from_secs(60);
        let sandbox = Sandboxed::open(launcher, &folder.path().join("m"), 1 << 30, wall).unwrap();
        Self { sandbox, _folder: folder }
    }

    fn goes_on(&self) {
        let (module, payer) = (benign(), AccountId([1; 32]));
        let module = self.sandbox.prepare(Digest::of(&module), &module).unwrap();
        let job = JobSpec::new(corpus()[0].limits()).into();
        let task = TaskSpec { job, index: TaskIndex(0), input: Vec::from("in").into() };
        let mut outputs = Vec::new();
        self.sandbox.run(
            Placement { payer, module },
            &[task],
            &Control::new().unwrap(),
            &mut |_, result| outputs.push(result.unwrap().output),
        );
        assert_eq!(outputs, [b"in"]);
    }
}

#[test]
fn a_network_outlives_every_hostile_guest() {
    let besieged = Besieged::start();
    let (accepted, refused): (Vec<_>, Vec<_>) =
        corpus().into_iter().partition(|guest| guest.contained.is_accepted());
    let jobs: Vec<_> = accepted.iter().map(|guest| (guest, besieged.submit(guest))).collect();
    let handed = Handed::new();
    for guest in &refused {
        let said = besieged.submit(guest).expect_err(guest.name);
        assert!(guest.contained.is_refusal(&said), "{}: {said}", guest.name);
        let module = guest.module();
        let void = handed.sandbox.prepare(Digest::of(&module), &module).expect_err(guest.name);
        assert_eq!(void.cause, VoidCause::Compile, "{}", guest.name);
        assert!(guest.contained.is_refusal(&void.detail), "{}: {void}", guest.name);
    }
    handed.goes_on();
    for (guest, job) in jobs {
        let job = job.unwrap_or_else(|said| panic!("{}: {said}", guest.name));
        let result = besieged.result(&job);
        let failure = result["failure"].as_str().map(str::to_owned);
        match guest.contained.failure() {
            None => assert_eq!(failure, None, "{}", guest.name),
            Some(why) => {
                let failure = failure.unwrap_or_else(|| panic!("{}: {result}", guest.name));
                assert!(failure.contains(&why), "{}: {failure}", guest.name);
            }
        }
        if guest.contained == Contained::NotCompiled {
            told_about_voids(&besieged, guest, &job);
        }
    }
    besieged.goes_on();
}

/// The job's owner can read what stopped the compilation, on each host.
fn told_about_voids(besieged: &Besieged, guest: &Guest, job: &str) {
    let task = besieged.network.tell(&["job", "logs", job, "0"]).json().remove(0);
    let voids = task["voids"].as_array().unwrap();
    assert!(voids.len() >= 2, "{}: {task}", guest.name);
    for void in voids {
        let detail = void["detail"].as_str().unwrap();
        assert!(detail.contains("compil"), "{}: {detail}", guest.name);
    }
}

#[test]
fn a_guest_without_end_stops_when_its_job_is_cancelled() {
    let besieged = Besieged::start();
    let mut endless = corpus().remove(0);
    endless.fuel = 60_000_000_000;
    let job = besieged.submit(&endless).unwrap();
    for number in 1..=2 {
        let works = |said: &String| !said.is_empty() && !said.starts_with("Not working: ");
        until("a running task", || besieged.says(number), works);
    }
    besieged.network.tell(&["job", "cancel", &job, "--reason", "it never ends"]).good();
    assert_eq!(besieged.network.until_over(&job)["state"], "cancelled");
    besieged.goes_on();
    assert!(number(&besieged.network.job(&job)["spent"]) < 60_000_000, "only what ran is paid");
}
