//! Guests that mean harm: what each tries, and what it must come to.
//!
//! [`corpus`] is the one table of them. Tests run it through the sandbox and through a whole network, `cargo xtask hostile` does so with
//! figures, and docs/hostile.md lists it; nobody else says how a guest is contained. All of them are written here, as text or instruction
//! by instruction. [`harms`] is another table: guests that break nothing and cost as much as they can for what they pay.

mod bombs;
mod endings;
mod harm;
mod loops;
mod memory;
mod meter;
mod reach;
mod streams;
mod text;

use tallymill_protocol::{Limits, Outcome};

pub use harm::{Harm, harms, ordinary};

/// One MiB.
const MIB: u64 = 1 << 20;

/// What a hostile guest comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contained {
    /// No coordinator takes it, and no worker compiles it if one does.
    Refused {
        /// The rule it breaks.
        rule: u32,
        /// What the refusal says besides the rule and the place.
        says: &'static str,
    },
    /// It runs and ends so; the job's owner is told.
    Ends(Outcome),
    /// It runs to its end and found nothing open: exit code 0. Each thing that it could do would have raised the code.
    FoundNothing,
    /// The process that compiles it is killed: void, with that cause.
    NotCompiled,
}

impl Contained {
    /// In one phrase.
    #[must_use]
    pub fn phrase(&self) -> String {
        match self {
            Self::Refused { rule, says } => format!("refused, rule {rule}: {says}"),
            Self::Ends(outcome) => outcome.to_string(),
            Self::FoundNothing => "nothing it tried is possible".to_owned(),
            Self::NotCompiled => "compiling it was stopped".to_owned(),
        }
    }

    /// Whether a refusal in these words is the one that must come: it names the rule and the offset.
    #[must_use]
    pub fn is_refusal(&self, text: &str) -> bool {
        let Self::Refused { rule, says } = self else { return false };
        let named = |part: &str| text.contains(part);
        named(&format!("rule {rule} (")) && named(says) && named("at offset ")
    }

    /// Whether a run that ended so is what must come.
    #[must_use]
    pub fn is_outcome(&self, outcome: Outcome) -> bool {
        match self {
            Self::Ends(expected) => *expected == outcome,
            Self::FoundNothing => outcome == Outcome::Exited(0),
            Self::Refused { .. } | Self::NotCompiled => false,
        }
    }

    /// What a task's failure says, if the task fails.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        match self {
            Self::Ends(outcome) => Some(outcome.to_string()),
            Self::NotCompiled => Some("module could not be compiled".to_owned()),
            Self::FoundNothing | Self::Refused { .. } => None,
        }
    }

    /// Whether a coordinator takes it, so that workers meet it.
    #[must_use]
    pub const fn is_accepted(&self) -> bool {
        !matches!(self, Self::Refused { .. })
    }

    /// Whether it gets to run.
    #[must_use]
    pub const fn runs(&self) -> bool {
        matches!(self, Self::Ends(_) | Self::FoundNothing)
    }
}

/// A hostile guest.
#[derive(Debug, Clone)]
pub struct Guest {
    /// What it is called, in the table and as a file.
    pub name: &'static str,
    /// What it tries.
    pub tries: &'static str,
    /// What it must come to.
    pub contained: Contained,
    /// Which limit or rule does that.
    pub by: &'static str,
    /// Fuel it is given.
    pub fuel: u64,
    /// Memory it is given, MiB.
    pub memory: u64,
    /// Output it is given, MiB.
    pub output: u64,
    module: fn() -> Vec<u8>,
}

impl Guest {
    const fn new(
        name: &'static str,
        tries: &'static str,
        (contained, by): (Contained, &'static str),
        module: fn() -> Vec<u8>,
    ) -> Self {
        Self { name, tries, contained, by, fuel: FUEL, memory: 64, output: 1, module }
    }

    const fn memory(mut self, mib: u64) -> Self {
        self.memory = mib;
        self
    }

    const fn fuel(mut self, fuel: u64) -> Self {
        self.fuel = fuel;
        self
    }

    /// Its bytes.
    #[must_use]
    pub fn module(&self) -> Vec<u8> {
        (self.module)()
    }

    /// Limits of its task.
    #[must_use]
    pub fn limits(&self) -> Limits {
        let (memory, output) = (self.memory * MIB, self.output * MIB);
        Limits { fuel: self.fuel, memory, output, ..Limits::default() }
    }
}

/// Fuel of a guest that never ends: some tenths of a second.
const FUEL: u64 = 300_000_000;
/// Fuel of one that never ends and mostly calls the host.
const LITTLE: u64 = 1_000_000;

const fn refused(rule: u32, says: &'static str) -> (Contained, &'static str) {
    let by = match rule {
        5 => "screening: call frame",
        12 => "screening limit",
        _ => "validation, before anything is rewritten",
    };
    (Contained::Refused { rule, says }, by)
}

const OUT_OF_FUEL: (Contained, &str) = (Contained::Ends(Outcome::FuelExhausted), "fuel limit");
const OUT_OF_STACK: (Contained, &str) =
    (Contained::Ends(Outcome::StackExhausted), "stack limit, as the meter counts frames");
const TOO_LARGE: (Contained, &str) =
    (Contained::Ends(Outcome::MemoryExceeded), "limits of memory and table, before it runs");

/// Every hostile guest. Names are unique.
#[must_use]
pub fn corpus() -> Vec<Guest> {
    let parts: [fn() -> Vec<Guest>; 7] = [
        loops::guests,
        memory::guests,
        endings::guests,
        streams::guests,
        reach::guests,
        meter::guests,
        bombs::guests,
    ];
    parts.into_iter().flat_map(|part| part()).collect()
}

/// A guest that means no harm: it copies its input to its output.
#[must_use]
pub fn benign() -> Vec<u8> {
    text::module(
        &["fd_read", "fd_write"],
        "",
        "(loop $more
            (i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const 4096))
            (drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
            (if (i32.load (i32.const 8)) (then
                (i32.store (i32.const 4) (i32.load (i32.const 8)))
                (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
                (br $more))))",
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_page_lists_every_guest_as_the_table_has_it() {
        let page = include_str!("../../../docs/hostile.md");
        assert!(corpus().len() >= 25);
        for Guest { name, tries, contained, by, .. } in corpus() {
            let row = format!("| {name} | {tries} | {}: {by} |", contained.phrase());
            assert!(page.lines().any(|line| line == row), "docs/hostile.md lacks:\n{row}");
        }
        let section = page.split("\n## ").find(|section| section.starts_with("The guests\n"));
        let lines = section.expect("a section of the guests").lines();
        let rows = lines.filter(|line| line.starts_with("| ")).count();
        // One is the head.
        assert_eq!(rows, corpus().len() + 1, "docs/hostile.md has rows of guests that are gone");
    }

    #[test]
    fn names_are_unique_and_every_text_is_a_module() {
        let costly = harms().into_iter().chain(ordinary());
        let modules = costly.map(|harm| (harm.name, harm.module()));
        let modules = modules.chain(corpus().into_iter().map(|guest| (guest.name, guest.module())));
        let mut names = BTreeSet::new();
        for (name, module) in modules {
            assert!(names.insert(name), "{name}");
            assert_eq!(module.is_empty(), name == "nothing", "{name}");
        }
    }

    #[test]
    fn refusals_are_held_to_rule_words_and_offset() {
        let refused = Contained::Refused { rule: 5, says: "frame" };
        assert!(refused.is_refusal("rule 5 (stack): frame at offset 3"));
        for other in [
            "rule 1 (x): frame at offset 3",
            "rule 5 (stack): at offset 3",
            "rule 5 (stack): frame",
        ] {
            assert!(!refused.is_refusal(other), "{other}");
        }
        assert!(!Contained::FoundNothing.is_refusal("rule 5 (stack): frame at offset 3"));
    }
}
