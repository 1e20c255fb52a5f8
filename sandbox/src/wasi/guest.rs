//! The state of one run that host functions read and change.

use std::sync::Arc;

use super::errno::Errno;
use super::files::{Files, NodeId, ROOT};
use crate::task::{JobSpec, TaskSpec};

/// Most files a guest may hold open.
pub(super) const MAX_OPEN: usize = 1024;

/// What a guest's file descriptor stands for.
#[derive(Debug)]
pub(crate) enum Handle {
    /// Standard input, read up to this position.
    Input(usize),
    /// Standard output.
    Output,
    /// Standard error.
    Log,
    /// A directory.
    Directory {
        /// Which.
        node: NodeId,
        /// Whether it is the root that the guest starts with.
        preopened: bool,
    },
    /// A file.
    File(OpenFile),
}

/// An open file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OpenFile {
    /// Which.
    pub(crate) node: NodeId,
    /// The next byte to read or write.
    pub(crate) position: u64,
    /// Whether it may be read.
    pub(crate) readable: bool,
    /// Whether it may be written.
    pub(crate) writable: bool,
    /// Flags; bit 0 is "append".
    pub(crate) flags: u16,
}

/// The state of one run.
pub(crate) struct Guest {
    /// The job.
    pub(crate) job: Arc<JobSpec>,
    index: u32,
    /// Standard input.
    pub(crate) input: Arc<[u8]>,
    /// Standard output so far.
    pub(crate) output: Vec<u8>,
    /// Standard error so far.
    pub(crate) log: Vec<u8>,
    /// Files.
    pub(crate) files: Files,
    handles: Vec<Option<Handle>>,
    /// How often a clock was read.
    pub(crate) ticks: u64,
    random: Option<blake3::OutputReader>,
}

impl Guest {
    /// The state at the start of a task.
    pub(crate) fn new(task: &TaskSpec) -> Self {
        let root = Handle::Directory { node: ROOT, preopened: true };
        Self {
            index: task.index.0,
            input: task.input.clone(),
            output: Vec::new(),
            log: Vec::new(),
            files: Files::new(&task.job.files, task.job.limits.scratch),
            job: task.job.clone(),
            handles: vec![
                Some(Handle::Input(0)),
                Some(Handle::Output),
                Some(Handle::Log),
                Some(root),
            ],
            ticks: 0,
            random: None,
        }
    }

    /// What `fd` stands for.
    pub(crate) fn handle(&mut self, fd: u32) -> Result<&mut Handle, Errno> {
        self.handles.get_mut(fd as usize).and_then(Option::as_mut).ok_or(Errno::BadFd)
    }

    /// The open file `fd`.
    pub(crate) fn file(&mut self, fd: u32) -> Result<&mut OpenFile, Errno> {
        match self.handle(fd)? {
            Handle::File(file) => Ok(file),
            Handle::Directory { .. } => Err(Errno::IsDirectory),
            _ => Err(Errno::IsStream),
        }
    }

    /// The directory `fd`.
    pub(crate) fn directory(&mut self, fd: u32) -> Result<NodeId, Errno> {
        match self.handle(fd)? {
            Handle::Directory { node, .. } => Ok(*node),
            _ => Err(Errno::NotDirectory),
        }
    }

    /// Opens `node` under the lowest free descriptor.
    pub(crate) fn open(&mut self, node: NodeId, handle: Handle) -> Result<u32, Errno> {
        let free = self.handles.iter().position(Option::is_none).unwrap_or(self.handles.len());
        if free >= MAX_OPEN {
            return Err(Errno::TooManyFiles);
        }
        self.files.opened(node)?;
        if free == self.handles.len() {
            self.handles.push(None);
        }
        self.handles[free] = Some(handle);
        u32::try_from(free).map_err(|_| Errno::TooManyFiles)
    }

    /// Closes `fd`.
    pub(crate) fn close(&mut self, fd: u32) -> Result<(), Errno> {
        let slot = self.handles.get_mut(fd as usize).ok_or(Errno::BadFd)?;
        match slot.take().ok_or(Errno::BadFd)? {
            Handle::Directory { node, .. } | Handle::File(OpenFile { node, .. }) => {
                self.files.closed(node)
            }
            _ => Ok(()),
        }
    }

    /// What each descriptor stands for.
    pub(super) fn handles(&self) -> &[Option<Handle>] {
        &self.handles
    }

    /// Puts these descriptors in the place of all others.
    pub(super) fn set_handles(&mut self, handles: Vec<(u32, Handle)>) {
        let count = handles.last().map_or(0, |(fd, _)| *fd as usize + 1);
        self.handles = (0..count).map(|_| None).collect();
        for (fd, handle) in handles {
            if let Some(slot) = self.handles.get_mut(fd as usize) {
                *slot = Some(handle);
            }
        }
    }

    /// Bytes read from the random stream.
    pub(super) fn random_position(&self) -> u64 {
        self.random.as_ref().map_or(0, blake3::OutputReader::position)
    }

    /// Goes on with the random stream behind so many bytes.
    pub(super) fn set_random_position(&mut self, position: u64) {
        self.random_stream().set_position(position);
    }

    /// Fills `bytes` from the task's random stream: BLAKE3 keyed with the manifest's seed, over the task's index.
    pub(crate) fn randomness(&mut self, bytes: &mut [u8]) {
        self.random_stream().fill(bytes);
    }

    fn random_stream(&mut self) -> &mut blake3::OutputReader {
        let (seed, index) = (&self.job.seed, self.index);
        self.random.get_or_insert_with(|| {
            let mut hasher = blake3::Hasher::new_keyed(seed);
            hasher.update(b"tallymill/v1/random").update(&index.to_be_bytes());
            hasher.finalize_xof()
        })
    }
}
