//! What the host keeps of a guest between two steps: streams, descriptors, files, clocks and random numbers.
//!
//! What is put back comes from other machines: it is refused unless the host functions could have made it.

use tallymill_protocol::snapshot::{Counters, Files as KeptFiles, Handles, Open, Snapshot};

use super::files::{Files, ROOT};
use super::guest::{Guest, Handle, MAX_OPEN, OpenFile};
use crate::state::{Misfit, must};

/// More random bytes than any task can read.
const MAX_RANDOM: u64 = 1 << 62;

fn small(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

impl Guest {
    /// The open descriptors.
    pub(crate) fn kept_handles(&self) -> Handles {
        let open = |handle: &Handle| match *handle {
            Handle::Input(position) => Open::Input { position: position as u64 },
            Handle::Output => Open::Output,
            Handle::Log => Open::Log,
            Handle::Directory { node, preopened } => {
                Open::Directory { node: small(node), preopened }
            }
            Handle::File(OpenFile { node, position, readable, writable, flags }) => {
                Open::File { node: small(node), position, readable, writable, flags }
            }
        };
        let handles = self.handles().iter().zip(0..);
        let handles = handles.filter_map(|(handle, fd)| Some((fd, open(handle.as_ref()?))));
        Handles(
            handles.map(|(fd, open)| tallymill_protocol::snapshot::Handle { fd, open }).collect(),
        )
    }

    /// Files and directories.
    pub(crate) fn kept_files(&self) -> KeptFiles {
        self.files.kept()
    }

    /// Clocks and random numbers.
    pub(crate) fn kept_counters(&self) -> Counters {
        Counters { ticks: self.ticks, random: self.random_position() }
    }

    /// Puts back what a snapshot holds of it.
    pub(crate) fn restore(&mut self, snapshot: &Snapshot<'_>) -> Result<(), Misfit> {
        self.output = snapshot.output.to_vec();
        self.log = snapshot.log.to_vec();
        let (job, Counters { ticks, random }) = (self.job.clone(), snapshot.counters);
        self.files = Files::restored(&snapshot.files, &job.files, job.limits.scratch)?;
        let mut handles = Vec::with_capacity(snapshot.handles.0.len());
        for handle in &snapshot.handles.0 {
            must((handle.fd as usize) < MAX_OPEN, "a descriptor above the highest")?;
            handles.push((handle.fd, self.reopened(handle.open)?));
        }
        self.set_handles(handles);
        self.files.all_reachable()?;
        must(ticks <= snapshot.facts.fuel, "more clock readings than fuel")?;
        must(random <= MAX_RANDOM, "more random bytes than can be read")?;
        self.ticks = ticks;
        self.set_random_position(random);
        Ok(())
    }

    /// What a descriptor stands for; its node is held open.
    fn reopened(&mut self, open: Open) -> Result<Handle, Misfit> {
        let directory = |node: u32| self.files.is_directory(node as usize);
        let (handle, node) = match open {
            Open::Input { position } => {
                must(position <= self.input.len() as u64, "read beyond the input's end")?;
                return Ok(Handle::Input(usize::try_from(position).unwrap_or(usize::MAX)));
            }
            Open::Output => return Ok(Handle::Output),
            Open::Log => return Ok(Handle::Log),
            Open::Directory { node, preopened } => {
                must(directory(node) == Some(true), "a directory's descriptor of none")?;
                let node = node as usize;
                must(!preopened || node == ROOT, "open from the start, but not the root")?;
                (Handle::Directory { node, preopened }, node)
            }
            Open::File { node, position, readable, writable, flags } => {
                must(directory(node) == Some(false), "a file's descriptor of none")?;
                must(position <= i64::MAX.unsigned_abs(), "a position above the highest")?;
                let node = node as usize;
                must(!writable || !self.files.is_input(node), "a job's file open for writing")?;
                (Handle::File(OpenFile { node, position, readable, writable, flags }), node)
            }
        };
        self.files.opened(node).map_err(|_| Misfit("a descriptor of no file"))?;
        Ok(handle)
    }
}
