//! The cache of compiled modules: found again, bounded, and never trusted with bytes it did not write.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tallymill_protocol::{Digest, Outcome};
use tallymill_sandbox::{Cache, Engine, Launcher, prepare};
use tempfile::TempDir;

use crate::guest::{ECHO, SPIN, job, launcher, module, run_compiled, task};

fn entries(directory: &Path) -> Vec<PathBuf> {
    let all = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    all.filter(|path| path.extension().is_some_and(|e| e == "module")).collect()
}

/// A launcher that cannot compile.
fn no_compiler() -> Launcher {
    Launcher::program("/nonexistent")
}

#[test]
fn a_module_is_compiled_once() {
    let home = TempDir::new().unwrap();
    let cache = Cache::open(home.path().join("cache"), 1 << 30).unwrap();
    let echo = module(ECHO);
    assert!(prepare(Some(&cache), &no_compiler(), &echo).is_err());
    let first = prepare(Some(&cache), &launcher(), &echo).unwrap();
    let again = Cache::open(home.path().join("cache"), 1 << 30).unwrap();
    let second = prepare(Some(&again), &no_compiler(), &echo).unwrap();
    assert_eq!(
        (first.original, first.metered, &first.info),
        (second.original, second.metered, &second.info)
    );
    assert_eq!(second.original, Digest::of(&echo));
    let loaded = second.load(&Engine::new(1).unwrap()).unwrap();
    let result = run_compiled(&loaded, &task(job(), b"through the cache")).unwrap();
    assert_eq!(
        (result.outcome, result.output.as_slice()),
        (Outcome::Exited(0), &b"through the cache"[..])
    );
}

#[test]
fn a_flipped_byte_anywhere_is_as_good_as_no_entry() {
    let home = TempDir::new().unwrap();
    let cache = Cache::open(home.path(), 1 << 30).unwrap();
    let echo = module(ECHO);
    prepare(Some(&cache), &launcher(), &echo).unwrap();
    let path = entries(home.path()).pop().unwrap();
    let intact = fs::read(&path).unwrap();
    for at in [0, 31, 32, 40, 100, intact.len() / 2, intact.len() - 1] {
        let mut bytes = intact.clone();
        bytes[at] ^= 1;
        fs::write(&path, &bytes).unwrap();
        assert!(cache.get(Digest::of(&echo)).is_none(), "byte {at}");
        assert!(!path.exists(), "a damaged entry is removed");
    }
    fs::write(&path, &intact[..intact.len() - 1]).unwrap();
    assert!(cache.get(Digest::of(&echo)).is_none(), "cut");
    fs::write(&path, &intact).unwrap();
    assert!(cache.get(Digest::of(&echo)).is_some());
    fs::write(&path, &intact[..100]).unwrap();
    prepare(Some(&cache), &launcher(), &echo).unwrap();
    assert!(cache.get(Digest::of(&echo)).is_some(), "compiled again and kept");
}

#[test]
fn entries_of_another_name_or_key_are_not_believed() {
    let (home, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let cache = Cache::open(home.path(), 1 << 30).unwrap();
    let (echo, spin) = (module(ECHO), module(SPIN));
    prepare(Some(&cache), &launcher(), &echo).unwrap();
    let of_echo = entries(home.path()).pop().unwrap();
    prepare(Some(&cache), &launcher(), &spin).unwrap();
    let of_spin = entries(home.path()).into_iter().find(|path| *path != of_echo).unwrap();
    let foreign = Cache::open(other.path(), 1 << 30).unwrap();
    fs::copy(&of_echo, other.path().join(of_echo.file_name().unwrap())).unwrap();
    assert!(foreign.get(Digest::of(&echo)).is_none(), "another machine's entry");
    fs::copy(&of_echo, &of_spin).unwrap();
    assert!(cache.get(Digest::of(&spin)).is_none(), "another module's entry");
}

#[test]
fn the_quota_removes_what_was_not_used_for_longest() {
    let home = TempDir::new().unwrap();
    let roomy = Cache::open(home.path(), 1 << 30).unwrap();
    let modules: Vec<_> = (0..3)
        .map(|n| module(&format!("(module (func (export \"_start\") (drop (i32.const {n}))))")))
        .collect();
    let long_ago = SystemTime::now() - Duration::from_secs(1000);
    for (age, module) in modules[..2].iter().enumerate() {
        prepare(Some(&roomy), &launcher(), module).unwrap();
        for path in entries(home.path()) {
            let file = fs::File::open(path).unwrap();
            let before = file.metadata().unwrap().modified().unwrap().min(long_ago);
            file.set_modified(before - Duration::from_secs(age as u64)).unwrap();
        }
    }
    // The first is older, but used now.
    assert!(roomy.get(Digest::of(&modules[0])).is_some());
    let size = fs::metadata(&entries(home.path())[0]).unwrap().len();
    let tight = Cache::open(home.path(), size * 2 + size / 2).unwrap();
    prepare(Some(&tight), &launcher(), &modules[2]).unwrap();
    assert_eq!(entries(home.path()).len(), 2);
    let here = |module: &Vec<u8>| tight.get(Digest::of(module)).is_some();
    assert_eq!((here(&modules[0]), here(&modules[1]), here(&modules[2])), (true, false, true));
}

#[test]
fn the_key_is_for_its_owner_alone() {
    let home = TempDir::new().unwrap();
    Cache::open(home.path(), 1).unwrap();
    let key = home.path().join("key");
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    let error = Cache::open(home.path(), 1).unwrap_err();
    assert!(error.to_string().contains("key"), "{error}");
}
