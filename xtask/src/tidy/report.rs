//! The figures of all files together, and the limits on them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::Violation;
use super::docs::{COMPLETE, PublicItem};
use super::sizes::{Function, MAX_FUNCTION};
use super::source::SourceFile;

const MAX_MEDIAN: usize = 7;
const MAX_P90: usize = 30;
/// Share of public items that are documented in crates that need not be complete.
const MIN_DOCUMENTED_PERCENT: usize = 90;

/// Figures of one crate.
#[derive(Default)]
struct Figures {
    files: usize,
    lines: usize,
    lengths: Vec<usize>,
    public: usize,
    undocumented: Vec<Violation>,
    exceptions: usize,
}

/// Figures by crate, and everything to mend.
#[derive(Default)]
pub(crate) struct Report {
    crates: BTreeMap<String, Figures>,
    pub(crate) violations: Vec<Violation>,
}

impl Report {
    /// Adds one file's functions, public items and violations.
    pub(crate) fn add(
        &mut self,
        file: &SourceFile,
        functions: &[Function],
        items: &[PublicItem],
        violations: Vec<Violation>,
    ) {
        self.violations.extend(violations);
        self.violations.extend(functions.iter().flat_map(|f| f.violations(file)));
        let figures = self.crates.entry(file.crate_folder().to_owned()).or_default();
        figures.files += 1;
        figures.lines += file.text.lines().count();
        figures.exceptions += file.excuse_count();
        figures.lengths.extend(functions.iter().map(|function| function.lines));
        figures.public += items.len();
        figures.undocumented.extend(items.iter().filter(|item| !item.documented).filter_map(
            |item| file.violation(item.line, "docs", format!("document `{}`", item.name)),
        ));
    }

    /// Judges what only all files together show.
    pub(crate) fn finish(&mut self) {
        for (name, figures) in &mut self.crates {
            figures.lengths.sort_unstable();
            let complete = COMPLETE.contains(&name.as_str());
            if complete || figures.documented_percent() < MIN_DOCUMENTED_PERCENT {
                self.violations.append(&mut figures.undocumented.clone());
            }
        }
        let all = self.all_lengths();
        for (rule, percent, limit) in [("median", 50, MAX_MEDIAN), ("p90", 90, MAX_P90)] {
            let lines = percentile(&all, percent);
            if lines > limit {
                let advice = format!("{lines} lines over all functions; at most {limit}");
                self.violations.push(Violation { path: ".".into(), line: 0, rule, advice });
            }
        }
    }

    /// The figures as text for people.
    pub(crate) fn table(&self) -> String {
        let mut table = format!(
            "{:<24}{:>6}{:>8}{:>11}{:>8}{:>5}{:>5}{:>7}{:>12}\n",
            "crate", "files", "lines", "functions", "median", "p90", "max", "docs %", "exceptions"
        );
        let mut total = Figures { lengths: self.all_lengths(), ..Figures::default() };
        for (name, figures) in &self.crates {
            table.push_str(&figures.row(name));
            total.files += figures.files;
            total.lines += figures.lines;
            total.public += figures.public;
            total.exceptions += figures.exceptions;
            total.undocumented.extend(figures.undocumented.iter().cloned());
        }
        table.push_str(&total.row("all"));
        let _infallible = write!(
            table,
            "limits: median {MAX_MEDIAN}, p90 {MAX_P90}, max {MAX_FUNCTION} lines; docs 100 % in {}",
            COMPLETE.join(", ")
        );
        table
    }

    fn all_lengths(&self) -> Vec<usize> {
        let mut all: Vec<usize> =
            self.crates.values().flat_map(|figures| figures.lengths.iter().copied()).collect();
        all.sort_unstable();
        all
    }
}

impl Figures {
    fn row(&self, name: &str) -> String {
        format!(
            "{name:<24}{:>6}{:>8}{:>11}{:>8}{:>5}{:>5}{:>7}{:>12}\n",
            self.files,
            self.lines,
            self.lengths.len(),
            percentile(&self.lengths, 50),
            percentile(&self.lengths, 90),
            self.lengths.last().copied().unwrap_or(0),
            self.documented_percent(),
            self.exceptions,
        )
    }

    fn documented_percent(&self) -> usize {
        let documented = self.public - self.undocumented.len();
        (documented * 100).checked_div(self.public).unwrap_or(100)
    }
}

/// The smallest value that at least `percent` % of the sorted values do not exceed.
fn percentile(sorted: &[usize], percent: usize) -> usize {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::inspect;

    fn violations(path: &str, text: &str) -> Vec<String> {
        let text = format!("//! A file for a test.\n{text}");
        let report = inspect(&[SourceFile::parse(path, text).unwrap()]);
        report.violations.iter().map(|v| format!("{}: {}", v.rule, v.advice)).collect()
    }

    #[test]
    fn percentiles_are_nearest_ranks() {
        assert_eq!(percentile(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10], 90), 9);
        assert_eq!(percentile(&[1, 2, 3], 50), 2);
        assert_eq!(percentile(&[], 50), 0);
    }

    #[test]
    fn long_functions_everywhere_break_the_median_and_the_90th_percentile() {
        let function = |lines: usize| format!("fn a() {{\n{}}}\n", "b();\n".repeat(lines - 2));
        assert!(violations("a/src/lib.rs", &function(7)).is_empty());
        assert_eq!(violations("a/src/lib.rs", &function(8)).len(), 1);
        assert_eq!(violations("a/src/lib.rs", &function(31)).len(), 2);
    }

    #[test]
    fn complete_crates_need_every_item_documented_and_others_nine_of_ten() {
        let items = |documented: usize| {
            format!("pub fn x() {{}}\n{}", "/// Y\npub fn y() {}\n".repeat(documented))
        };
        assert_eq!(violations("ledger/src/lib.rs", &items(20)), ["docs: document `x`"]);
        assert!(violations("worker/src/lib.rs", &items(9)).is_empty());
        assert_eq!(violations("worker/src/lib.rs", &items(8)), ["docs: document `x`"]);
    }

    #[test]
    fn every_check_of_source_text_takes_part() {
        let found = violations(
            "engine/src/a.rs",
            "#[allow(x)]\nfn f() { std::env::args(); q(\"SELECT 1\"); }",
        );
        let rules: Vec<&str> = found.iter().filter_map(|v| v.split(':').next()).collect();
        assert_eq!(rules, ["no-allow", "ambient", "sql"]);
        let bare = inspect(&[SourceFile::parse("a/src/b.rs", "\n".repeat(501)).unwrap()]);
        let rules: Vec<&str> = bare.violations.iter().map(|v| v.rule).collect();
        assert_eq!(rules, ["file-length", "file-docs"]);
    }

    #[test]
    fn the_table_has_a_row_for_each_crate_and_one_for_all() {
        let file = SourceFile::parse("a/src/lib.rs", "//! Some text.\nfn f() {}".into()).unwrap();
        let table = inspect(&[file]).table();
        assert_eq!(table.lines().count(), 4);
        assert!(table.contains("\na  ") && table.contains("\nall  "), "{table}");
    }
}
