//! What may be in the repository: text of a sensible size, and data that says where it is from.

use std::path::Path;

use anyhow::Context;

use super::Violation;
use crate::repo;

/// Largest file, in bytes, unless it is documented data.
const MAX_BYTES: usize = 300 * 1024;

/// How programs and archives begin; these are never data.
const PROGRAMS: [&[u8]; 5] = [b"\0asm", b"\x7fELF", b"MZ", b"PK\x03\x04", b"!<arch>"];

/// Paths of everything in git or about to be: tracked, or neither tracked nor ignored.
pub(crate) fn paths() -> anyhow::Result<Vec<String>> {
    let list = ["ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate"];
    let listed = repo::output(repo::command("git").args(list))?;
    let paths = listed.split('\0').filter(|path| repo::root().join(path).is_file());
    Ok(paths.map(str::to_owned).collect())
}

/// Files that should not be there.
pub(crate) fn check(root: &Path, paths: &[String]) -> anyhow::Result<Vec<Violation>> {
    let mut violations = Vec::new();
    for path in paths {
        let bytes =
            std::fs::read(root.join(path)).with_context(|| format!("failed to read {path}"))?;
        violations.extend(judge(path, &bytes, is_documented(root, path)));
    }
    Ok(violations)
}

fn judge(path: &str, bytes: &[u8], documented: bool) -> Option<Violation> {
    let violation = |rule, advice: &str| {
        Some(Violation { path: path.to_owned(), line: 1, rule, advice: advice.to_owned() })
    };
    if PROGRAMS.iter().any(|start| bytes.starts_with(start)) {
        return violation("binary", "build it when it is needed; no programs in git");
    }
    if documented || path.ends_with("Cargo.lock") {
        return None;
    }
    if bytes.iter().take(8_000).any(|byte| *byte == 0) {
        return violation(
            "binary",
            "keep text, or name it with its origin in a README.md beside it",
        );
    }
    if bytes.len() > MAX_BYTES {
        return violation(
            "large-file",
            "over 300 KiB: generate it, or name it in a README.md beside it",
        );
    }
    None
}

/// Whether a README.md in the same folder names the file.
fn is_documented(root: &Path, path: &str) -> bool {
    let path = Path::new(path);
    let readme = root.join(path.with_file_name("README.md"));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    std::fs::read_to_string(readme).is_ok_and(|text| text.contains(&format!("`{name}`")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(path: &str, bytes: &[u8], documented: bool) -> Option<&'static str> {
        judge(path, bytes, documented).map(|violation| violation.rule)
    }

    #[test]
    fn programs_are_refused_even_when_documented() {
        assert_eq!(rule("a.wasm", b"\0asm\x01", true), Some("binary"));
        assert_eq!(rule("a", b"\x7fELF", false), Some("binary"));
    }

    #[test]
    fn large_and_binary_files_need_a_word_on_their_origin() {
        let large = vec![b'a'; MAX_BYTES + 1];
        assert_eq!(rule("a.txt", &large, false), Some("large-file"));
        assert_eq!(rule("a.txt", &large[1..], false), None);
        assert_eq!(rule("a.txt", &large, true), None);
        assert_eq!(rule("Cargo.lock", &large, false), None);
        assert_eq!(rule("a.bin", b"a\0b", false), Some("binary"));
        assert_eq!(rule("a.bin", b"a\0b", true), None);
    }

    #[test]
    fn a_readme_documents_the_files_it_names() {
        let root = repo::root();
        assert!(is_documented(root, "examples/align/data/mt-human.fa"));
        assert!(!is_documented(root, "examples/align/data/other.fa"));
    }
}
