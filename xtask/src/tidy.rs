//! `cargo xtask tidy`: house style as numbers, and the direction of dependencies.
//!
//! Prints a table of figures, then `tidy: ok` or every violation as `path:line: rule: what to do`.
//! A number that makes the code worse in one place is excused by a comment `// tidy: REASON` on
//! the line above what is reported; such exceptions are counted in the table.

mod ambient;
mod banned;
mod docs;
mod layers;
mod report;
mod sizes;
mod source;
mod sql;
mod surface;
mod tokens;
mod tracked;

use std::collections::BTreeMap;

use anyhow::{Context, bail};

use crate::repo;
use report::Report;
use source::SourceFile;
use surface::Surface;

/// A place where the code is not as the house wants it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Violation {
    path: String,
    line: usize,
    rule: &'static str,
    advice: String,
}

/// Checks the working tree; an error when anything is to be mended.
pub(crate) fn run() -> anyhow::Result<()> {
    let paths = tracked::paths()?;
    let files = parse(&paths)?;
    let mut violations = tracked::check(repo::root(), &paths)?;
    violations.extend(layers::check(&layers::metadata()?));
    let report = inspect(&files);
    violations.extend(report.violations.iter().cloned());
    violations.sort();
    println(&report.table());
    if violations.is_empty() {
        println("tidy: ok");
        return Ok(());
    }
    for Violation { path, line, rule, advice } in &violations {
        println(&format!("{path}:{line}: {rule}: {advice}"));
    }
    bail!("tidy: {} to mend", violations.len());
}

/// All checks that look into source text.
fn inspect(files: &[SourceFile]) -> Report {
    let mut report = Report::default();
    let surfaces = surfaces(files);
    for file in files {
        let mut found = banned::check(file);
        found.extend(ambient::check(file));
        found.extend(sql::check(file));
        found.extend(sizes::check_file(file));
        found.extend(docs::check_opening(file));
        let items = docs::public_items(file, &surfaces[file.crate_folder()]);
        report.add(file, &sizes::functions(file), &items, found);
    }
    report.finish();
    report
}

fn surfaces(files: &[SourceFile]) -> BTreeMap<&str, Surface> {
    let folders = files.iter().map(SourceFile::crate_folder);
    let surface = |folder| {
        Surface::of(files.iter().filter(move |file| !file.test && file.crate_folder() == folder))
    };
    folders.map(|folder| (folder, surface(folder))).collect()
}

fn parse(paths: &[String]) -> anyhow::Result<Vec<SourceFile>> {
    let rust = paths.iter().filter(|path| path.ends_with(".rs"));
    let mut files = rust
        .map(|path| {
            let text = std::fs::read_to_string(repo::root().join(path))
                .with_context(|| format!("failed to read {path}"))?;
            SourceFile::parse(path, text)
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    source::mark_test_modules(&mut files);
    Ok(files)
}

#[expect(clippy::print_stdout, reason = "printing is what this command does")]
fn println(text: &str) {
    println!("{text}");
}
