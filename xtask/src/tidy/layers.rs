//! The direction of dependencies between our crates, and what the deciding crates may pull in.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, PackageId};

use super::Violation;
use super::ambient::PURE;
use crate::repo;

/// Each crate of ours and those it may depend on; see "Crates and the direction of dependencies"
/// in ARCHITECTURE.md. Crates not listed are tops: nothing of ours may depend on them.
const LAYERS: [(&str, &[&str]); 15] = [
    ("tallymill-protocol", &[]),
    ("tallymill-meter", &[]),
    ("tallymill-guest", &[]),
    ("example-inputs", &[]),
    ("kernels", &[]),
    ("tallymill-hostile", &["protocol"]),
    ("tallymill-postgres", &[]),
    ("tallymill-ledger", &["protocol"]),
    ("tallymill-engine", &["protocol", "ledger"]),
    ("tallymill-storage", &["protocol", "ledger", "engine"]),
    ("tallymill-sandbox", &["protocol", "meter"]),
    ("tallymill-audit", &["protocol", "meter", "sandbox"]),
    ("tallymill-transport", &[]),
    ("tallymill-worker", &["protocol", "meter", "sandbox", "audit", "transport"]),
    ("tallymill-sdk", &["protocol", "audit", "transport"]),
];

/// The coordinator comes after all that decides, stores and checks.
const COORDINATOR: (&str, &[&str]) = (
    "tallymill-coordinator",
    &["protocol", "meter", "ledger", "engine", "storage", "sandbox", "audit", "transport"],
);

/// Run times, databases and servers: nowhere in the normal tree of a pure crate.
const NEVER: [&str; 8] =
    ["tokio", "sqlx", "sqlx-core", "reqwest", "axum", "hyper", "mio", "async-std"];

/// Sources of randomness and time: not named by a pure crate. They may stand deeper in the tree,
/// where `uuid` reads and writes ids whose bits its caller chose; `tidy` looks for calls that draw.
const NOT_DIRECTLY: [&str; 5] = ["getrandom", "rand", "rand_core", "chrono", "jiff"];

/// What cargo says about the workspace.
pub(crate) fn metadata() -> anyhow::Result<Metadata> {
    let mut command = MetadataCommand::new();
    command.manifest_path(repo::root().join("Cargo.toml"));
    command.exec().context("failed to read cargo metadata")
}

/// The workspace as these checks see it: normal dependencies only.
#[derive(Default)]
struct Graph {
    ours: BTreeSet<String>,
    edges: BTreeMap<String, BTreeSet<String>>,
}

/// Dependencies that point the wrong way or bring in too much.
pub(crate) fn check(metadata: &Metadata) -> Vec<Violation> {
    let graph = graph(metadata);
    let mut violations = wrong_directions(&graph);
    violations.extend(impurities(&graph));
    violations
}

fn graph(metadata: &Metadata) -> Graph {
    let name = |id: &PackageId| metadata[id].name.to_string();
    let mut graph = Graph::default();
    let local = metadata.packages.iter().filter(|package| package.source.is_none());
    graph.ours.extend(local.map(|package| package.name.to_string()));
    for node in metadata.resolve.iter().flat_map(|resolve| &resolve.nodes) {
        let normal = node.deps.iter().filter(|dependency| {
            dependency.dep_kinds.iter().any(|kind| kind.kind == DependencyKind::Normal)
        });
        let edges = graph.edges.entry(name(&node.id)).or_default();
        edges.extend(normal.map(|dependency| name(&dependency.pkg)));
    }
    graph
}

fn wrong_directions(graph: &Graph) -> Vec<Violation> {
    let mut violations = Vec::new();
    for from in &graph.ours {
        let allowed = LAYERS.iter().chain([&COORDINATOR]).find(|(name, _)| name == from);
        for to in graph.edges.get(from).into_iter().flatten().filter(|to| graph.ours.contains(*to))
        {
            let listed = LAYERS.iter().chain([&COORDINATOR]).any(|(name, _)| name == to);
            let short = to.trim_start_matches("tallymill-");
            // The command line's own crate is a library to the binaries that test it.
            if !listed || allowed.is_some_and(|(_, list)| !list.contains(&short)) {
                violations
                    .push(violation(from, format!("must not depend on {to}: wrong direction")));
            }
        }
    }
    violations
}

fn impurities(graph: &Graph) -> Vec<Violation> {
    let mut violations = Vec::new();
    for folder in PURE {
        let name = format!("tallymill-{folder}");
        let direct = graph.edges.get(&name).cloned().unwrap_or_default();
        let tree = reachable(graph, &name);
        let deep = NEVER.iter().filter(|bad| tree.contains(**bad));
        let near = NOT_DIRECTLY.iter().filter(|bad| direct.contains(**bad));
        violations.extend(deep.chain(near).map(|bad| {
            violation(&name, format!("decides, so it must do without {bad}: pass data in instead"))
        }));
    }
    violations
}

fn reachable(graph: &Graph, from: &str) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    let mut open = vec![from.to_owned()];
    while let Some(name) = open.pop() {
        for next in graph.edges.get(&name).into_iter().flatten() {
            if seen.insert(next.clone()) {
                open.push(next.clone());
            }
        }
    }
    seen
}

fn violation(name: &str, advice: String) -> Violation {
    let folder = name.trim_start_matches("tallymill-");
    let path = if folder == "guest" { "sdk/guest" } else { folder };
    Violation { path: format!("{path}/Cargo.toml"), line: 1, rule: "layers", advice }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(edges: &[(&str, &str)]) -> Graph {
        let mut graph = Graph::default();
        for (from, to) in edges {
            graph.edges.entry((*from).to_owned()).or_default().insert((*to).to_owned());
            let ours = [from, to].into_iter().filter(|name| name.contains('-'));
            graph.ours.extend(ours.map(|name| (*name).to_owned()));
        }
        graph
    }

    #[test]
    fn the_stated_direction_passes() {
        let stated = graph(&[
            ("tallymill-ledger", "tallymill-protocol"),
            ("tallymill-coordinator", "tallymill-storage"),
            ("tallymill-cli", "tallymill-coordinator"),
        ]);
        assert_eq!(wrong_directions(&stated), []);
    }

    #[test]
    fn the_other_direction_does_not() {
        for (from, to) in [
            ("tallymill-protocol", "tallymill-ledger"),
            ("tallymill-engine", "tallymill-storage"),
            ("tallymill-worker", "tallymill-coordinator"),
            ("tallymill-coordinator", "tallymill-worker"),
            ("tallymill-worker", "tallymill-cli"),
            ("tallymill-storage", "tallymill-tests"),
        ] {
            assert_eq!(wrong_directions(&graph(&[(from, to)])).len(), 1, "{from} → {to}");
        }
    }

    #[test]
    fn pure_crates_have_no_run_time_anywhere_and_no_randomness_beside_them() {
        let deep = graph(&[("tallymill-engine", "a"), ("a", "tokio")]);
        assert_eq!(impurities(&deep).len(), 1);
        let near = graph(&[("tallymill-meter", "getrandom")]);
        assert_eq!(impurities(&near)[0].path, "meter/Cargo.toml");
        let through = graph(&[("tallymill-protocol", "uuid"), ("uuid", "getrandom")]);
        assert_eq!(impurities(&through), []);
        assert_eq!(impurities(&graph(&[("tallymill-worker", "tokio")])), []);
    }

    #[test]
    fn the_real_workspace_is_seen() {
        let graph = super::graph(&metadata().unwrap());
        assert!(graph.ours.contains("tallymill-protocol") && graph.ours.contains("xtask"));
        assert!(graph.edges["tallymill-ledger"].contains("tallymill-protocol"));
        assert!(!graph.edges["tallymill-ledger"].contains("proptest"), "tests' needs are no layer");
    }
}
