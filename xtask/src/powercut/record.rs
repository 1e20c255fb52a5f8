//! System calls as strace writes them down, and what they do to the files of a folder.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, ensure};

/// What happened to a file, named as in its folder, or was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    Write {
        file: String,
        at: u64,
        bytes: Vec<u8>,
    },
    Sync {
        file: String,
    },
    Truncate {
        file: String,
        length: u64,
    },
    Remove {
        file: String,
    },
    /// A commit was said to be durable.
    Told(u64),
}

/// The events of a record, in the order in which calls returned.
pub(super) fn read(log: &str, folder: &Path) -> anyhow::Result<Vec<Event>> {
    let mut reader = Reader { folder, files: HashMap::new(), begun: HashMap::new() };
    let mut events = Vec::new();
    for line in log.lines() {
        let event = reader.line(line);
        events.extend(event.with_context(|| format!("in {}", line.get(..80).unwrap_or(line)))?);
    }
    Ok(events)
}

struct Reader<'a> {
    folder: &'a Path,
    /// Files of the folder by descriptor; threads share them.
    files: HashMap<u64, String>,
    /// Beginnings of calls during which another thread made one, by thread.
    begun: HashMap<String, String>,
}

impl Reader<'_> {
    fn line(&mut self, line: &str) -> anyhow::Result<Option<Event>> {
        let Some((thread, call)) = line.split_once(' ') else { return Ok(None) };
        let call = call.trim_start();
        if let Some(begun) = call.strip_suffix("<unfinished ...>") {
            self.begun.insert(thread.to_owned(), begun.trim_end().to_owned());
            return Ok(None);
        }
        let whole = match call.split_once(" resumed>").filter(|_| call.starts_with("<... ")) {
            Some((_, rest)) => {
                let begun = self.begun.remove(thread).context("a call ends that never began")?;
                begun + rest
            }
            None => call.to_owned(),
        };
        let Some((name, rest)) = whole.split_once('(') else { return Ok(None) };
        let Some((arguments, result)) = rest.rsplit_once(" = ") else { return Ok(None) };
        let arguments = arguments.trim_end().strip_suffix(')').unwrap_or(arguments);
        let Ok(result) = result.split(' ').next().unwrap_or_default().parse::<u64>() else {
            // It failed.
            return Ok(None);
        };
        let arguments: Vec<&str> = arguments.split(", ").collect();
        self.call(name, &arguments, result)
    }

    fn call(
        &mut self,
        name: &str,
        arguments: &[&str],
        result: u64,
    ) -> anyhow::Result<Option<Event>> {
        let argument = |at: usize| arguments.get(at).copied().context("an argument is missing");
        let number = |at: usize| -> anyhow::Result<u64> { Ok(argument(at)?.parse()?) };
        match name {
            "openat" => {
                if let Some(file) = self.name(argument(1)?)? {
                    self.files.insert(result, file);
                }
                return Ok(None);
            }
            "unlink" => return Ok(self.name(argument(0)?)?.map(|file| Event::Remove { file })),
            "close" => {
                self.files.remove(&number(0)?);
                return Ok(None);
            }
            "write" if number(0)? == 1 => return told(&bytes(argument(1)?)?),
            _ => {}
        }
        let Some(file) = self.files.get(&number(0)?).cloned() else { return Ok(None) };
        Ok(match name {
            "pwrite64" => {
                let (bytes, at) = (bytes(argument(1)?)?, number(3)?);
                ensure!(u64::try_from(bytes.len())? == result, "a part only was written");
                Some(Event::Write { file, at, bytes })
            }
            "fsync" | "fdatasync" => Some(Event::Sync { file }),
            "ftruncate" => Some(Event::Truncate { file, length: number(1)? }),
            // The index that processes share is mapped, and made anew after a start.
            _ => None,
        })
    }

    /// The name of a file directly in the folder.
    fn name(&self, argument: &str) -> anyhow::Result<Option<String>> {
        let path = String::from_utf8(bytes(argument)?)?;
        let within = Path::new(&path).strip_prefix(self.folder).ok();
        Ok(within.and_then(|file| file.to_str()).filter(|file| !file.is_empty()).map(str::to_owned))
    }
}

fn told(bytes: &[u8]) -> anyhow::Result<Option<Event>> {
    let text = String::from_utf8_lossy(bytes);
    text.trim().strip_prefix("told ").map(|n| Ok(Event::Told(n.parse()?))).transpose()
}

/// Bytes of `"\x00\xff"`.
fn bytes(argument: &str) -> anyhow::Result<Vec<u8>> {
    let inner = argument.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    let inner = inner.context("a text is cut short")?;
    let digits = inner.split("\\x").skip(1);
    digits.map(|digits| Ok(u8::from_str_radix(digits, 16)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A text as strace writes it.
    fn hex(text: &str) -> String {
        let digits: String = text.bytes().map(|byte| format!("\\x{byte:02x}")).collect();
        format!("\"{digits}\"")
    }

    #[test]
    fn calls_on_files_of_the_folder_become_events() {
        let log = format!(
            "7 openat(AT_FDCWD, {}, O_RDWR|O_CREAT, 0644) = 5
7 openat(AT_FDCWD, {}, O_RDONLY) = 6
8 pwrite64(5, {}, 3, 4096) = 3
8 pwrite64(6, {}, 3, 0) = 3
8 fdatasync(5) = 0
7 write(1, {}, 7) = 7
8 ftruncate(5, 8192) = 0
8 close(5) = 0
8 fdatasync(5) = 0
8 unlink({}) = 0
8 openat(AT_FDCWD, {}, O_RDONLY) = -1 ENOENT (No such file or directory)
8 +++ exited with 0 +++",
            hex("/d/a.db"),
            hex("/etc/passwd"),
            hex("abc"),
            hex("abc"),
            hex("told 9\n"),
            hex("/d/a.db-wal"),
            hex("/d/b")
        );
        let file = || "a.db".to_owned();
        let expected = [
            Event::Write { file: file(), at: 4096, bytes: b"abc".to_vec() },
            Event::Sync { file: file() },
            Event::Told(9),
            Event::Truncate { file: file(), length: 8192 },
            Event::Remove { file: "a.db-wal".to_owned() },
        ];
        assert_eq!(read(&log, Path::new("/d")).unwrap(), expected);
    }

    #[test]
    fn calls_of_threads_that_overlap_are_put_together_and_count_when_they_return() {
        let log = format!(
            "7 openat(AT_FDCWD, {}, O_RDWR) = 5
7 fdatasync(5 <unfinished ...>
8 pwrite64(5, {}, 3, 0 <unfinished ...>
7 <... fdatasync resumed>) = 0
8 <... pwrite64 resumed>) = 3",
            hex("/d/a"),
            hex("abc")
        );
        let file = || "a".to_owned();
        let write = Event::Write { file: file(), at: 0, bytes: b"abc".to_vec() };
        assert_eq!(read(&log, Path::new("/d")).unwrap(), [Event::Sync { file: file() }, write]);
    }

    #[test]
    fn records_that_cannot_be_trusted_are_refused() {
        let refused = |line: &str| format!("{:#}", read(line, Path::new("/d")).unwrap_err());
        assert!(refused("7 <... fdatasync resumed>) = 0").contains("never began"));
        let open = format!("7 openat(AT_FDCWD, {}, O_RDWR) = 5\n", hex("/d/a"));
        let short = format!("{open}7 pwrite64(5, {}, 3, 0) = 2", hex("abc"));
        assert!(refused(&short).contains("a part only"));
        let cut = format!("{open}7 pwrite64(5, {}..., 3, 0) = 3", hex("abc"));
        assert!(refused(&cut).contains("cut short"));
    }
}
