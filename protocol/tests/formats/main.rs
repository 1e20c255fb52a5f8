//! The formats of `docs/protocol/formats.md`: encodings, signatures, trees, rules and golden files.

#[cfg(test)]
mod any;
#[cfg(test)]
mod canonical;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod manifest;
#[cfg(test)]
mod names;
#[cfg(test)]
mod roundtrip;
#[cfg(test)]
mod signatures;
#[cfg(test)]
mod snapshots;
#[cfg(test)]
mod trees;
