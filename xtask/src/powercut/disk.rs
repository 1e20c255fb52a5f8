//! A disk with a cache that loses power: what was synced stays, the rest may or may not.

use std::collections::BTreeMap;
use std::path::Path;

use example_inputs::draw;

use super::record::Event;

/// What a disk writes in one piece.
const SECTOR: usize = 512;

/// The files, as the disk holds them and as they were written.
#[derive(Debug, Default)]
pub(super) struct Disk {
    files: BTreeMap<String, File>,
}

#[derive(Debug, Default, Clone)]
struct File {
    /// What is on the disk for certain.
    durable: Vec<u8>,
    /// What was done since the last sync.
    since: Vec<Change>,
}

#[derive(Debug, Clone)]
enum Change {
    Write { at: usize, bytes: Vec<u8> },
    Truncate { length: usize },
}

impl Disk {
    pub(super) fn play(&mut self, event: &Event) {
        let size = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        match event {
            Event::Write { file, at, bytes } => {
                let change = Change::Write { at: size(*at), bytes: bytes.clone() };
                self.file(file).since.push(change);
            }
            Event::Truncate { file, length } => {
                self.file(file).since.push(Change::Truncate { length: size(*length) });
            }
            Event::Sync { file } => {
                let file = self.file(file);
                for change in std::mem::take(&mut file.since) {
                    change.apply(&mut file.durable, || true);
                }
            }
            Event::Remove { file } => drop(self.files.remove(file)),
            Event::Told(_) => {}
        }
    }

    fn file(&mut self, name: &str) -> &mut File {
        self.files.entry(name.to_owned()).or_default()
    }

    /// Writes into an empty `folder` what is there after a cut. Whether a sector of what was not synced survived is drawn; one
    /// cut in four keeps nothing of it, and one everything, which are what real disks do most.
    pub(super) fn cut(&self, folder: &Path, random: &mut u64) -> std::io::Result<()> {
        if folder.exists() {
            std::fs::remove_dir_all(folder)?;
        }
        std::fs::create_dir_all(folder)?;
        let kind = draw(random) % 4;
        for (name, file) in &self.files {
            let mut bytes = file.durable.clone();
            for change in &file.since {
                change.apply(&mut bytes, || match kind {
                    0 => false,
                    1 => true,
                    _ => draw(random) & 1 == 1,
                });
            }
            std::fs::write(folder.join(name), bytes)?;
        }
        Ok(())
    }
}

impl Change {
    /// Does the change to `bytes`, each sector that `keeps`.
    fn apply(&self, bytes: &mut Vec<u8>, mut keeps: impl FnMut() -> bool) {
        match self {
            Self::Truncate { length } => {
                if keeps() {
                    bytes.resize(*length, 0);
                }
            }
            Self::Write { at, bytes: written } => {
                let mut from = 0;
                while from < written.len() {
                    // Sectors are those of the disk, not of the write.
                    let to = written.len().min(((at + from) / SECTOR + 1) * SECTOR - at);
                    if keeps() {
                        let end = at + to;
                        if bytes.len() < end {
                            bytes.resize(end, 0);
                        }
                        bytes[at + from..end].copy_from_slice(&written[from..to]);
                    }
                    from = to;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(at: u64, bytes: &[u8]) -> Event {
        Event::Write { file: "f".to_owned(), at, bytes: bytes.to_vec() }
    }

    /// What may be in the file after many cuts.
    fn cuts(events: &[Event]) -> std::collections::BTreeSet<Vec<u8>> {
        let mut disk = Disk::default();
        events.iter().for_each(|event| disk.play(event));
        let folder = tempfile::tempdir().unwrap();
        let (copy, mut random) = (folder.path().join("copy"), 1);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..200 {
            disk.cut(&copy, &mut random).unwrap();
            seen.insert(std::fs::read(copy.join("f")).unwrap_or_default());
        }
        seen
    }

    #[test]
    fn what_was_synced_stays_and_the_rest_is_torn_at_sectors() {
        let sync = Event::Sync { file: "f".to_owned() };
        let synced = cuts(&[write(0, b"old"), sync.clone()]);
        assert_eq!(synced.into_iter().collect::<Vec<_>>(), [b"old".to_vec()]);
        // Two sectors of which each may be old or new.
        let torn = cuts(&[write(0, &[1; 1024]), sync, write(500, &[2; 24])]);
        assert_eq!(torn.len(), 4);
        let whole = torn.iter().filter(|bytes| bytes[500..524] == [2; 24]).count();
        let half = torn.iter().filter(|bytes| bytes[500..512] == [2; 12]).count();
        assert_eq!((whole, half), (1, 2));
    }

    #[test]
    fn files_that_are_cut_or_removed_are() {
        let cut = Event::Truncate { file: "f".to_owned(), length: 1 };
        let sync = Event::Sync { file: "f".to_owned() };
        let cut = cuts(&[write(0, b"old"), cut, sync]);
        assert_eq!(cut.into_iter().collect::<Vec<_>>(), [b"o".to_vec()]);
        let gone = cuts(&[write(0, b"old"), Event::Remove { file: "f".to_owned() }]);
        assert_eq!(gone.into_iter().collect::<Vec<_>>(), [b"".to_vec()]);
    }
}
