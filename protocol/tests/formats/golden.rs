//! One example of every message, kept as files for authors in other languages and against changes by accident.
//!
//! `docs/protocol/formats.md` says what the files hold. `TALLYMILL_WRITE_GOLDEN=1 cargo test -p tallymill-protocol golden`
//! writes those that are missing and rewrites the others: only a new version of a format may change one that is published.

use std::fmt::Write as _;
use std::path::PathBuf;

use tallymill_protocol::{Digest, Keypair, Message as _, Signed};

use crate::any::{AnyMessage, Check, Source, every_message, every_signed};

fn path(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "golden", &format!("{name}.hex")].iter().collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    digits.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

fn pair() -> Keypair {
    Keypair::from_secret(&[42; 32])
}

fn lines(name: &str) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(path(name))
        .unwrap_or_else(|error| panic!("golden file {name}: {error}"));
    text.lines()
        .map(|line| line.split_once(' ').unwrap())
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .collect()
}

fn line(name: &str, wanted: &str) -> String {
    let found = lines(name).into_iter().find(|(key, _)| key == wanted);
    found.unwrap_or_else(|| panic!("{name} has no line {wanted}")).1
}

struct Plain;

impl Check for Plain {
    fn check<M: AnyMessage>(&self) {
        let bytes = unhex(&line(M::NAME, "encoding"));
        let value = M::from_bytes(&bytes).unwrap_or_else(|error| panic!("{}: {error}", M::NAME));
        assert_eq!(value.to_bytes(), bytes, "{}", M::NAME);
        assert_eq!(format!("{value:?}"), line(M::NAME, "value"), "{}", M::NAME);
        assert_eq!(Digest::of(&bytes).to_string(), line(M::NAME, "digest"), "{}", M::NAME);
    }
}

struct WithSignature;

impl Check for WithSignature {
    fn check<M: AnyMessage>(&self) {
        let value = M::from_bytes(&unhex(&line(M::NAME, "encoding"))).unwrap();
        let envelope = unhex(&line(M::NAME, "signed"));
        let signed = Signed::<M>::from_bytes(&envelope).unwrap();
        assert_eq!(hex(pair().public().as_bytes()), line(M::NAME, "signer"));
        assert_eq!(signed.open(&pair().public()).as_ref(), Ok(&value));
        assert_eq!(pair().sign(&value).to_bytes(), envelope, "signing is deterministic");
    }
}

struct Write;

impl Check for Write {
    fn check<M: AnyMessage>(&self) {
        let value = M::any(&mut Source(2026));
        let bytes = value.to_bytes();
        let text =
            format!("encoding {}\ndigest {}\nvalue {value:?}\n", hex(&bytes), Digest::of(&bytes));
        std::fs::write(path(M::NAME), text).unwrap();
    }
}

struct Sign;

impl Check for Sign {
    fn check<M: AnyMessage>(&self) {
        let value = M::any(&mut Source(2026));
        let mut text = std::fs::read_to_string(path(M::NAME)).unwrap();
        let (signer, signed) = (pair().public(), pair().sign(&value).to_bytes());
        write!(text, "signer {signer}\nsigned {}\n", hex(&signed)).unwrap();
        std::fs::write(path(M::NAME), text).unwrap();
    }
}

#[test]
fn golden_files_still_read_and_write_the_same() {
    if std::env::var_os("TALLYMILL_WRITE_GOLDEN").is_some() {
        every_message(&Write);
        every_signed(&Sign);
    }
    every_message(&Plain);
    every_signed(&WithSignature);
}
