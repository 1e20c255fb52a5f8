//! What is counted for operators, as OpenMetrics text. No label ever holds an id: series stay few.

mod causes;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use tallymill_engine::rows::HostRow;
use tallymill_engine::{NetworkView, Reply, WorkAnswer};
use tallymill_protocol::HostId;
use tallymill_protocol::work::Verdict as Judged;

use crate::collector::Progress;

/// Media type of the text.
pub const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A request as it is counted.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    method: &'static str,
    route: String,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Verdict {
    verdict: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Cause {
    cause: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct What {
    what: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Build {
    version: &'static str,
}

/// Counters, gauges and histograms of one coordinator.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    started: Instant,
    requests: Family<Request, Counter>,
    problems: Family<Kind, Counter>,
    batch: Histogram,
    commit: Histogram,
    failures: Counter,
    reports: Counter,
    receipts: Family<Verdict, Counter>,
    lapsed: Counter,
    unshaken: Counter,
    rejects: Family<Cause, Counter>,
    waits: Family<Cause, Counter>,
    refusals: Family<Cause, Counter>,
    collected: Family<What, Counter>,
    now: Now,
}

/// What is so at the moment of a scrape.
#[derive(Debug, Default)]
struct Now {
    ready: Gauge,
    connections: Gauge,
    queue: Gauge,
    hosts: Gauge,
    active: Gauge,
    waiting: Gauge,
    jobs: Gauge,
    leases: Gauge,
    uptime: Gauge,
}

impl Now {
    fn register(&self, registry: &mut Registry) {
        let gauges = [
            ("ready", "Whether commits succeed and leases are given", &self.ready),
            ("connections", "Connections of clients", &self.connections),
            ("queue_depth", "Commands that wait for the engine", &self.queue),
            ("hosts", "Hosts bound to an owner", &self.hosts),
            ("hosts_active", "Hosts heard of within two heartbeats", &self.active),
            ("hosts_waiting", "Hosts that wait for work", &self.waiting),
            ("jobs_live", "Jobs running or stopping", &self.jobs),
            ("leases", "Leases in force", &self.leases),
        ];
        for (name, help, gauge) in gauges {
            registry.register(name, help, gauge.clone());
        }
        let help = "Time since the coordinator started";
        registry.register_with_unit("uptime", help, Unit::Seconds, self.uptime.clone());
    }
}

/// The method, if it is one. Anybody can make up others; a label for each would never end.
pub(crate) fn known_method(method: &axum::http::Method) -> &'static str {
    let known = ["GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "PATCH"];
    known.into_iter().find(|known| method == known).unwrap_or("other")
}

fn gauge(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

impl Default for Metrics {
    fn default() -> Self {
        let metrics = Self {
            registry: Registry::with_prefix("tallymill"),
            started: Instant::now(),
            requests: Family::default(),
            problems: Family::default(),
            // From one command to the most that a batch takes.
            batch: Histogram::new(exponential_buckets(1.0, 4.0, 6)),
            // From a commit without a disk, 0.1 ms, to one that hangs, 6 s.
            commit: Histogram::new(exponential_buckets(0.000_1, 3.0, 11)),
            failures: Counter::default(),
            reports: Counter::default(),
            receipts: Family::default(),
            lapsed: Counter::default(),
            unshaken: Counter::default(),
            rejects: Family::default(),
            waits: Family::default(),
            refusals: Family::default(),
            collected: Family::default(),
            now: Now::default(),
        };
        metrics.registered()
    }
}

impl Metrics {
    fn registered(mut self) -> Self {
        let registry = &mut self.registry;
        let build = Info::new(Build { version: env!("CARGO_PKG_VERSION") });
        registry.register("build", "The program", build);
        self.now.register(registry);
        registry.register("requests", "Requests answered", self.requests.clone());
        registry.register("problems", "Requests refused or failed", self.problems.clone());
        registry.register("batch_size", "Commands decided into one batch", self.batch.clone());
        let help = "Time until a batch is durable";
        registry.register_with_unit("commit", help, Unit::Seconds, self.commit.clone());
        registry.register("commit_failures", "Batches that were lost", self.failures.clone());
        registry.register(
            "reports",
            "Reports of hosts that the engine answered",
            self.reports.clone(),
        );
        registry.register("receipts", "Receipts in those, by verdict", self.receipts.clone());
        registry.register(
            "lapsed_tasks",
            "Tasks whose lease ended without a report",
            self.lapsed.clone(),
        );
        let help = "Connections that came to no TLS";
        registry.register("handshake_failures", help, self.unshaken.clone());
        let help = "Reports of which something was refused, by the first cause";
        registry.register("rejects", help, self.rejects.clone());
        let help = "Answers without work to hosts that asked for it, by the first cause";
        registry.register("waits", help, self.waits.clone());
        let help = "Commands that the engine refused, by cause";
        registry.register("refusals", help, self.refusals.clone());
        let help = "What was taken away because nobody needs it any more";
        registry.register("collected", help, self.collected.clone());
        self
    }

    /// Counts an answer to a request for the route with this template.
    pub fn answered(&self, method: &axum::http::Method, route: String, status: u16) {
        let method = known_method(method);
        self.requests.get_or_create(&Request { method, route, status }).inc();
    }

    /// Counts a problem of this kind.
    pub fn problem(&self, kind: &'static str) {
        self.problems.get_or_create(&Kind { kind }).inc();
    }

    /// Counts a batch of so many commands.
    #[expect(clippy::cast_precision_loss, reason = "a batch has at most a thousand commands")]
    pub fn batch(&self, commands: usize) {
        self.batch.observe(commands as f64);
    }

    /// Counts a commit.
    pub fn committed(&self, took: Duration, succeeded: bool) {
        self.commit.observe(took.as_secs_f64());
        if !succeeded {
            self.failures.inc();
        }
    }

    /// Counts what an answer to a host says, whoever refused: what was not believed, and why there is no work.
    pub fn worked(&self, work: &WorkAnswer) {
        for answer in &work.answers {
            let judged = !answer.verdicts.is_empty();
            if !judged || answer.verdicts.contains(&Judged::Refused) {
                let cause = causes::field(&answer.reason);
                self.rejects.get_or_create(&Cause { cause }).inc();
            }
        }
        let reason = work.reasons.first().filter(|_| work.grants.is_empty());
        if let Some(cause) = reason.and_then(|reason| causes::wait(reason)) {
            self.waits.get_or_create(&Cause { cause }).inc();
        }
    }

    /// Counts what an answer to a host says about its reports, and what was refused.
    pub fn replied(&self, reply: &Reply) {
        if let Reply::Refused(refusal) = reply {
            let cause = causes::refusal(refusal);
            self.refusals.get_or_create(&Cause { cause }).inc();
        }
        let Reply::Work(work) = reply else { return };
        for answer in &work.answers {
            self.reports.inc();
            for verdict in &answer.verdicts {
                let verdict = format!("{verdict:?}").to_lowercase();
                self.receipts.get_or_create(&Verdict { verdict }).inc();
            }
        }
    }

    /// Counts tasks whose lease ended without a report.
    pub fn lapsed(&self, tasks: u64) {
        self.lapsed.inc_by(tasks);
    }

    /// A connection came to no TLS.
    pub fn not_shaken(&self) {
        self.unshaken.inc();
    }

    /// Counts what a step of collecting took away.
    pub fn collected(&self, progress: &Progress) {
        let Progress { rows, jobs, blobs, bytes } = *progress;
        for (what, count) in [("rows", rows), ("jobs", jobs), ("blobs", blobs), ("bytes", bytes)] {
            self.collected.get_or_create(&What { what }).inc_by(count);
        }
    }

    /// A connection was taken.
    pub fn connected(&self) {
        self.now.connections.inc();
    }

    /// A connection ended.
    pub fn disconnected(&self) {
        self.now.connections.dec();
    }

    /// The text, for a queue of this depth; `view` is how the network stands, when the engine can tell.
    ///
    /// # Errors
    /// When a value cannot be written.
    pub fn text(
        &self,
        ready: bool,
        queue: usize,
        view: Option<NetworkView>,
    ) -> Result<String, std::fmt::Error> {
        let now = &self.now;
        now.ready.set(i64::from(ready));
        now.queue.set(gauge(queue));
        now.uptime.set(i64::try_from(self.started.elapsed().as_secs()).unwrap_or(i64::MAX));
        if let Some(view) = view {
            now.hosts.set(gauge(view.hosts));
            now.active.set(gauge(view.active));
            now.waiting.set(gauge(view.waiting));
            now.jobs.set(gauge(view.jobs));
            now.leases.set(gauge(view.leases));
        }
        let mut text = String::new();
        text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// How many tasks each host ever abandoned, to tell the new ones in a batch.
#[derive(Debug, Default)]
pub struct Abandoned(HashMap<HostId, u64>);

impl Abandoned {
    /// Tasks abandoned since these hosts were seen last.
    pub fn fresh(&mut self, hosts: &[HostRow]) -> u64 {
        let before = |kept: &mut HashMap<_, u64>, host: &HostRow| match host.abandoned {
            0 => 0,
            count => kept.insert(host.id, count).unwrap_or_default(),
        };
        let fresh =
            hosts.iter().map(|host| host.abandoned - before(&mut self.0, host).min(host.abandoned));
        fresh.sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_has_units_and_no_made_up_methods() {
        let metrics = Metrics::default();
        metrics.committed(Duration::from_millis(1), false);
        metrics.collected(&Progress { rows: 7, jobs: 1, blobs: 2, bytes: 90 });
        metrics.answered(&axum::http::Method::from_bytes(b"BREW").unwrap(), "/pot".to_owned(), 405);
        let view = NetworkView { waiting: 3, ..NetworkView::default() };
        let text = metrics.text(true, 7, Some(view)).unwrap();
        for line in [
            "tallymill_commit_seconds_count 1",
            "tallymill_commit_failures_total 1",
            "tallymill_requests_total{method=\"other\",route=\"/pot\",status=\"405\"} 1",
            "tallymill_hosts_waiting 3",
            "tallymill_queue_depth 7",
            "tallymill_ready 1",
            "tallymill_collected_total{what=\"bytes\"} 90",
            "tallymill_uptime_seconds 0",
            "# EOF",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
        assert!(text.contains("tallymill_build_info{version="), "{text}");
    }

    #[test]
    fn only_what_a_host_abandons_anew_is_counted() {
        let host = |abandoned| HostRow {
            id: HostId([1; 32]),
            owner: tallymill_protocol::AccountId([2; 32]),
            expiry: tallymill_protocol::Micros(0),
            revoked_at: None,
            joined: tallymill_protocol::Micros(0),
            seen: tallymill_protocol::Micros(0),
            reports: 0,
            last_report: tallymill_protocol::Digest::ZERO,
            settled: 0,
            fuel: 0,
            voided: 0,
            outvoted: 0,
            abandoned,
        };
        let mut abandoned = Abandoned::default();
        assert_eq!(abandoned.fresh(&[host(0)]), 0);
        assert_eq!(abandoned.fresh(&[host(2)]), 2);
        assert_eq!(abandoned.fresh(&[host(2)]), 0);
        assert_eq!(abandoned.fresh(&[host(5)]), 3);
    }
}
