//! What the JavaScript host states again, against what it restates.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tallymill_meter::Ty;
use tallymill_sandbox::profile;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../sdk/js")
}

#[test]
fn its_blake3_vectors_are_those_of_the_crate() {
    let text = std::fs::read_to_string(folder().join("test/blake3-vectors.json")).unwrap();
    let vectors: Vec<Value> = serde_json::from_str(&text).unwrap();
    assert!(vectors.len() > 15);
    let key = *b"whats the Elvish word for friend";
    for vector in &vectors {
        let length = vector["length"].as_u64().unwrap();
        let input: Vec<u8> = (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect();
        let mut hash = [0; 131];
        blake3::Hasher::new().update(&input).finalize_xof().fill(&mut hash);
        let hex = data_encoding::HEXLOWER.encode(&hash);
        assert_eq!(vector["hash"].as_str(), Some(&*hex), "{length} bytes");
        let keyed = blake3::keyed_hash(&key, &input).to_hex();
        assert_eq!(vector["keyed"].as_str(), Some(keyed.as_str()), "{length} bytes, keyed");
    }
}

#[test]
fn it_offers_the_functions_of_the_profile_with_their_types() {
    let script =
        "import('./src/index.js').then(({ IMPORTS }) => console.log(JSON.stringify(IMPORTS)))";
    let output = Command::new("node").args(["-e", script]).current_dir(folder()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let offered: serde_json::Map<String, Value> = serde_json::from_slice(&output.stdout).unwrap();
    let imports = profile().imports;
    assert_eq!(offered.len(), imports.len());
    for import in imports {
        let letter = |ty: &Ty| if *ty == Ty::I32 { 'i' } else { 'l' };
        let types: String = import.params.iter().map(letter).collect();
        assert_eq!(offered[import.name].as_str(), Some(&*types), "{}", import.name);
    }
}
