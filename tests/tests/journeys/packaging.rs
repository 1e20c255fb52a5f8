//! What a package brings beside the program: settings that name all there are, and scripts that delete no key by themselves.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::world::{call, command};

fn packaging(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging").join(path)
}

/// Every setting of a coordinator that is set up by this text.
fn shown(folder: &Path, text: &str) -> Vec<Value> {
    std::fs::write(folder.join("coordinator.toml"), text).unwrap();
    let mut show = command(folder);
    show.args(["--json", "config", "show", "--config", "coordinator.toml"]);
    let shown = call(&mut show, b"").json().remove(0);
    shown["coordinator"].as_array().unwrap().clone()
}

/// A setting without a line in the file that is installed is one that nobody finds.
#[test]
fn the_installed_settings_change_nothing_and_name_every_setting_with_its_default() {
    let folder = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(packaging("etc/coordinator.toml")).unwrap();
    let is_setting = |line: &str| line.starts_with('#') && !line.starts_with("# ");
    let uncommented = |line: &str| match is_setting(line) {
        true => format!("{}\n", &line[1..]),
        false => format!("{line}\n"),
    };
    let every: String = text.lines().map(uncommented).collect();
    let installed = shown(folder.path(), &text);
    assert!(installed.iter().all(|setting| setting["origin"] == "default"), "{installed:?}");
    for (default, named) in installed.iter().zip(shown(folder.path(), &every)) {
        assert_eq!(named["origin"], "file coordinator.toml", "{named} is not in the file");
        if default["value"].is_string() {
            assert_eq!(named["value"], default["value"], "{} has another default", named["name"]);
        }
    }
}

/// The environment of the worker's unit says nothing that the worker does not read.
#[test]
fn the_installed_environment_of_a_worker_is_commented_and_known() {
    let text = std::fs::read_to_string(packaging("etc/tallymill-worker")).unwrap();
    let unit = std::fs::read_to_string(packaging("systemd/tallymill-worker.service")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let help = call(command(folder.path()).args(["worker", "join", "--help"]), b"").good();
    let settings: Vec<&str> = text.lines().filter(|line| !line.starts_with("# ")).collect();
    let names: Vec<&str> =
        settings.iter().filter_map(|line| line.split_once('=')).map(|(name, _)| name).collect();
    assert_eq!(names, ["#TALLYMILL_URL", "#JOIN_OPTIONS"], "{text}");
    assert!(help.contains("[env: TALLYMILL_URL") && unit.contains(" join $JOIN_OPTIONS\n"));
}

fn run(script: &str, root: &Path, word: &str) {
    let mut run = Command::new("sh");
    run.arg(packaging(script)).arg(word).env("DPKG_ROOT", root);
    assert_eq!(call(&mut run, b"").good(), "", "{script} {word}");
}

#[test]
fn a_key_and_a_database_are_deleted_by_a_purge_alone() {
    let folder = tempfile::tempdir().unwrap();
    let kept = ["tallymill/coordinator/coordinator.key", "tallymill-worker/owner.key"];
    let kept = kept.map(|path| folder.path().join("var/lib").join(path));
    let secret = folder.path().join("etc/tallymill/coordinator.env");
    for path in kept.iter().chain([&secret]) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "secret").unwrap();
    }
    for word in ["remove", "upgrade", "failed-upgrade", "abort-install", "disappear"] {
        run("debian/postrm", folder.path(), word);
        assert!(kept.iter().all(|path| path.exists()) && secret.exists(), "{word}");
    }
    run("debian/postrm", folder.path(), "purge");
    assert!(!kept.iter().any(|path| path.exists()) && !secret.exists());
    assert!(!folder.path().join("etc/tallymill").exists());
    assert_eq!(std::fs::read_dir(folder.path().join("var/lib")).unwrap().count(), 0);
    // Users are made for real, so only in a package that is installed.
    for word in ["abort-upgrade", "abort-remove"] {
        run("debian/postinst", folder.path(), word);
    }
}

/// The instructions of a Containerfile, each with its words on one line.
fn instructions(text: &str) -> Vec<(String, String)> {
    let joined = text.replace("\\\n", " ");
    let lines = joined.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let split =
        |line: &str| line.split_once(' ').map(|(name, rest)| (name.to_owned(), rest.to_owned()));
    lines.map(|line| split(line).unwrap()).collect()
}

/// No registry need be reached to see that an image runs the program as nobody special, from bases that do not move.
#[test]
fn an_image_has_pinned_bases_a_user_of_its_own_and_a_check_by_the_program_itself() {
    let text = std::fs::read_to_string(packaging("Containerfile")).unwrap();
    let all = instructions(&text);
    let of = |name: &str| -> Vec<&str> {
        all.iter().filter(|(it, _)| it == name).map(|(_, rest)| rest.as_str()).collect()
    };
    let bases = of("FROM");
    assert_eq!(bases.len(), 2);
    let toolchain = std::fs::read_to_string(packaging("../rust-toolchain.toml")).unwrap();
    let version = toolchain.split('"').nth(1).unwrap();
    assert!(bases[0].contains(&format!("/rust:{version}-")), "not the toolchain's: {}", bases[0]);
    assert!(bases.iter().all(|base| base.contains(':') && !base.contains(":latest")), "{bases:?}");
    let (last, _) = all.iter().enumerate().rfind(|(_, (name, _))| name == "FROM").unwrap();
    let at = |name: &str| all.iter().rposition(|(it, _)| it == name).unwrap();
    assert!(at("USER") > last && at("RUN") < at("USER"), "what is run is not root's");
    assert_eq!((of("USER"), of("VOLUME")), (vec!["7411:7411"], vec![r#"["/data"]"#]));
    for copied in
        of("COPY").iter().filter(|it| !it.starts_with("--from")).flat_map(|it| it.split(' '))
    {
        assert!(copied.starts_with('/') || packaging("..").join(copied).exists(), "{copied}");
    }
    let folder = tempfile::tempdir().unwrap();
    let check = of("HEALTHCHECK")[0].split_once("CMD ").unwrap().1;
    for words in [check, of("CMD")[0]] {
        let words: Vec<String> = serde_json::from_str(words).unwrap();
        let verb = words.iter().filter(|word| !word.starts_with('/'));
        call(command(folder.path()).args(verb).arg("--help"), b"").good();
    }
    let settings = of("ENV")[0].split(' ').map(|it| it.split_once('=').unwrap());
    let mut show = command(folder.path());
    let shown = call(show.args(["--json", "config", "show"]).envs(settings), b"").json().remove(0);
    let all = shown["coordinator"].as_array().unwrap();
    let value = |name: &str| &all.iter().find(|it| it["name"] == name).unwrap()["value"];
    assert_eq!(
        (value("data"), value("listen")),
        (&"/data/coordinator".into(), &"0.0.0.0:7411".into())
    );
}
