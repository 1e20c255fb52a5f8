//! What an owner decides: how much of the machine, for whom, and at what price.

use std::path::PathBuf;
use std::time::Duration;

use tallymill_protocol::cbor::{List, Text};
use tallymill_protocol::work::Accept;
use tallymill_protocol::{AccountId, Digest, Limits, Manifest};

/// Whom the owner works for. An empty list of allowed ones allows all; a refusal always wins.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// Only these submitters; at most 64 in each list.
    pub submitters: Vec<AccountId>,
    /// Never these submitters.
    pub refused_submitters: Vec<AccountId>,
    /// Only jobs with one of these tags, each at most 64 bytes.
    pub tags: Vec<String>,
    /// Never jobs with one of these tags.
    pub refused_tags: Vec<String>,
    /// Only these modules.
    pub modules: Vec<Digest>,
    /// Never these modules.
    pub refused_modules: Vec<Digest>,
    /// Lowest tariff, micro-credits per 10⁹ fuel.
    pub min_tariff: u64,
}

/// What one task may ask of this machine; a lease that asks for more is given back, never run under tighter limits.
#[derive(Debug, Clone, Copy)]
pub struct Caps {
    /// Linear memory, bytes.
    pub memory: u64,
    /// Standard output, bytes.
    pub output: u64,
    /// One input, bytes.
    pub input: u64,
}

impl Default for Caps {
    /// 4 GiB of memory (the formats' own limit), 256 MiB of output and of input.
    fn default() -> Self {
        Self { memory: 4 << 30, output: 256 << 20, input: 256 << 20 }
    }
}

/// Whether jobs of others than the owner run here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Strangers {
    /// They do: this machine confines what they run.
    #[default]
    Confined,
    /// They do not, because this machine lacks what is named here.
    Refused(String),
    /// They do although this machine lacks what is named here: the owner said so.
    Unconfined(String),
}

impl Strangers {
    /// What the owner should know, in words.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        match self {
            Self::Confined => None,
            Self::Refused(gap) => Some(format!(
                "only its owner's jobs are taken, because this machine cannot confine others': {gap}"
            )),
            Self::Unconfined(gap) => {
                Some(format!("STRANGERS' JOBS RUN UNCONFINED, as its owner wished: {gap}"))
            }
        }
    }
}

/// Everything a worker is started with.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the coordinator answers, e.g. `http://127.0.0.1:7171`.
    pub coordinator: String,
    /// Certificates of authorities (PEM) that are trusted over https beside the system's.
    pub ca: Option<PathBuf>,
    /// Keys, outbox, cache and control socket live here (mode 0700).
    pub state: PathBuf,
    /// Tasks run at once, 1 to 1,024.
    pub slots: u32,
    /// Whom to work for.
    pub rules: Rules,
    /// Whether others' jobs run here.
    pub strangers: Strangers,
    /// What a task may ask for.
    pub caps: Caps,
    /// Most bytes of modules, files and tables kept; at least 1 MiB.
    pub cache_quota: u64,
    /// Least share of the ordinary price of processor time that others' jobs pay, percent, at most 1,000; 0: they pay what they
    /// like. See `docs/worker.md`.
    pub least_pay: u32,
    /// Processor time that one submitter's jobs may use without paying for it; a second to a day.
    pub patience: Duration,
    /// Work to hold in reserve; more is asked for when half of it is left. At most an hour.
    pub buffer: Duration,
    /// Most time one call waits for work; the protocol allows 50 s.
    pub wait: Duration,
    /// How often it says that it still works; hosts silent for a minute do not count as active.
    pub heartbeat: Duration,
}

/// Which option cannot be, and what it may be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {found} is not possible; {rule}")]
pub struct OptionsError {
    /// The option.
    pub field: &'static str,
    /// Its value.
    pub found: String,
    /// What is possible.
    pub rule: &'static str,
}

impl Options {
    /// Options with this machine's processors as slots and a cache of 2 GiB.
    #[must_use]
    pub fn new(coordinator: impl Into<String>, state: impl Into<PathBuf>) -> Self {
        let slots = std::thread::available_parallelism().map_or(1, |n| n.get().min(1024));
        Self {
            coordinator: coordinator.into(),
            ca: None,
            state: state.into(),
            slots: u32::try_from(slots).unwrap_or(1),
            rules: Rules::default(),
            strangers: Strangers::default(),
            caps: Caps::default(),
            cache_quota: 2 << 30,
            least_pay: 50,
            patience: Duration::from_secs(10),
            buffer: Duration::from_secs(2),
            wait: Duration::from_secs(45),
            heartbeat: Duration::from_secs(8),
        }
    }

    /// Checks every option.
    ///
    /// # Errors
    /// The first option that is out of range.
    pub fn validate(&self) -> Result<(), OptionsError> {
        let rule = |good: bool, field, found: &dyn std::fmt::Debug, rule| {
            if good {
                Ok(())
            } else {
                Err(OptionsError { field, found: format!("{found:?}"), rule })
            }
        };
        rule((1..=1024).contains(&self.slots), "slots", &self.slots, "1 to 1,024")?;
        rule(self.cache_quota >= 1 << 20, "cache_quota", &self.cache_quota, "at least 1 MiB")?;
        rule(self.least_pay <= 1_000, "least_pay", &self.least_pay, "0 to 1,000 percent")?;
        let patience = (1..=86_400).contains(&self.patience.as_secs());
        rule(patience, "patience", &self.patience, "1 second to a day")?;
        rule(self.buffer.as_secs() <= 3600, "buffer", &self.buffer, "at most an hour")?;
        rule(self.wait.as_millis() <= 50_000, "wait", &self.wait, "at most 50 seconds")?;
        let beats = self.heartbeat.as_millis() >= 100 && self.heartbeat.as_secs() <= 15;
        rule(beats, "heartbeat", &self.heartbeat, "0.1 to 15 seconds")?;
        self.rules.validate()
    }
}

impl Rules {
    fn validate(&self) -> Result<(), OptionsError> {
        let lengths = [
            ("submitters", self.submitters.len()),
            ("refused_submitters", self.refused_submitters.len()),
            ("tags", self.tags.len()),
            ("refused_tags", self.refused_tags.len()),
            ("modules", self.modules.len()),
            ("refused_modules", self.refused_modules.len()),
        ];
        if let Some((field, found)) = lengths.into_iter().find(|(_, length)| *length > 64) {
            let found = format!("a list of {found}");
            return Err(OptionsError { field, found, rule: "at most 64 entries" });
        }
        match self.tags.iter().chain(&self.refused_tags).find(|tag| tag.len() > 64) {
            None => Ok(()),
            Some(tag) => {
                let found = format!("{tag:?}");
                Err(OptionsError { field: "tags", found, rule: "a tag has at most 64 bytes" })
            }
        }
    }

    /// The same rules, for the jobs of `owner` alone.
    #[must_use]
    pub(crate) fn only_for(mut self, owner: AccountId) -> Self {
        if !self.submitters.is_empty() && !self.submitters.contains(&owner) {
            // Nobody is left: a list that is empty would allow all.
            self.refused_submitters.truncate(63);
            self.refused_submitters.push(owner);
        }
        self.submitters = vec![owner];
        self
    }

    /// The rules as the coordinator is told.
    #[must_use]
    pub fn accept(&self) -> Accept {
        let texts = |tags: &[String]| List(tags.iter().cloned().map(Text).collect());
        Accept {
            submitters: List(self.submitters.clone()),
            refused_submitters: List(self.refused_submitters.clone()),
            tags: texts(&self.tags),
            refused_tags: texts(&self.refused_tags),
            modules: List(self.modules.clone()),
            refused_modules: List(self.refused_modules.clone()),
        }
    }

    /// Why a job is not accepted; `None` when it is. The worker checks this itself: the coordinator's word is not enough.
    #[must_use]
    pub fn refusal(&self, manifest: &Manifest) -> Option<&'static str> {
        let tagged = |tags: &[String]| manifest.tags.0.iter().any(|tag| tags.contains(&tag.0));
        let outside = |empty: bool, within: bool| !empty && !within;
        let (submitter, module) = (&manifest.submitter, &manifest.module);
        if self.refused_submitters.contains(submitter)
            || outside(self.submitters.is_empty(), self.submitters.contains(submitter))
        {
            return Some("the owner's rules refuse its submitter");
        }
        if tagged(&self.refused_tags) || outside(self.tags.is_empty(), tagged(&self.tags)) {
            return Some("the owner's rules refuse its tags");
        }
        if self.refused_modules.contains(module)
            || outside(self.modules.is_empty(), self.modules.contains(module))
        {
            return Some("the owner's rules refuse its module");
        }
        (manifest.tariff.fuel < self.min_tariff).then_some("it pays less than the owner's minimum")
    }
}

impl Caps {
    /// Which cap these limits exceed.
    #[must_use]
    pub const fn exceeded(&self, limits: &Limits) -> Option<&'static str> {
        if limits.memory > self.memory {
            Some("it may use more memory than the owner allows")
        } else if limits.output > self.output {
            Some("it may write more output than the owner allows")
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_for_the_owner_alone_allow_nobody_else() {
        let (owner, other) = (AccountId([1; 32]), AccountId([2; 32]));
        assert_eq!(Rules::default().only_for(owner).submitters, [owner]);
        let both = Rules { submitters: vec![owner, other], ..Rules::default() }.only_for(owner);
        assert_eq!((both.submitters, both.refused_submitters.len()), (vec![owner], 0));
        let strangers = Rules { submitters: vec![other], ..Rules::default() }.only_for(owner);
        assert_eq!(
            (strangers.submitters, strangers.refused_submitters),
            (vec![owner], vec![owner])
        );
    }

    #[test]
    fn bad_options_name_the_field_and_the_rule() {
        let good = Options::new("http://127.0.0.1:1", "/nowhere");
        assert_eq!(good.validate(), Ok(()));
        let text = |options: Options| options.validate().unwrap_err().to_string();
        assert_eq!(
            text(Options { slots: 0, ..good.clone() }),
            "slots: 0 is not possible; 1 to 1,024"
        );
        assert!(text(Options { cache_quota: 5, ..good.clone() }).starts_with("cache_quota: 5"));
        assert!(
            text(Options { wait: Duration::from_secs(51), ..good.clone() }).starts_with("wait")
        );
        assert!(
            text(Options { heartbeat: Duration::ZERO, ..good.clone() }).starts_with("heartbeat")
        );
        assert!(text(Options { least_pay: 1_001, ..good.clone() }).starts_with("least_pay: 1001"));
        assert!(
            text(Options { patience: Duration::ZERO, ..good.clone() }).starts_with("patience: 0ns")
        );
        let mut many = good.clone();
        many.rules.tags = vec!["x".into(); 65];
        assert!(text(many).contains("a list of 65"));
        let mut long = good;
        long.rules.refused_tags = vec!["x".repeat(65)];
        assert!(text(long).contains("64 bytes"));
    }
}
