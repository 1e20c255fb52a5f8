//! The guest's files: read-only inputs and a writable directory in memory, under one root.

mod kept;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::contents::Contents;
use super::errno::Errno;

/// Longest path, bytes.
const MAX_PATH: usize = 4096;
/// Longest name within a directory, bytes.
const MAX_NAME: usize = 255;
/// What a file or directory costs of the scratch limit besides its bytes, so that empty ones are bounded too.
const ENTRY_COST: u64 = 4096;

/// Number of a file or directory; the guest sees it as inode.
pub(crate) type NodeId = usize;
/// The root directory.
pub(crate) const ROOT: NodeId = 0;

/// A file or directory.
#[derive(Debug)]
pub(crate) enum Node {
    /// Names in their order, which is the order guests see.
    Directory(BTreeMap<String, NodeId>),
    /// A read-only input.
    Input(Arc<[u8]>),
    /// A file the guest made.
    File(Contents),
}

impl Node {
    /// Size in bytes; 0 for directories.
    pub(crate) fn size(&self) -> u64 {
        match self {
            Self::Directory(_) => 0,
            Self::Input(bytes) => bytes.len() as u64,
            Self::File(contents) => contents.len(),
        }
    }

    /// Copies the bytes of a file from `at` on, as far as there are some, and says how many.
    pub(crate) fn read(&self, at: u64, target: &mut [u8]) -> Result<usize, Errno> {
        match self {
            Self::Directory(_) => Err(Errno::IsDirectory),
            Self::Input(bytes) => Ok(copy_from(bytes, at, target)),
            Self::File(contents) => Ok(contents.read(at, target)),
        }
    }

    /// Its code as file type: directory or regular file.
    pub(crate) const fn file_type(&self) -> u8 {
        match self {
            Self::Directory(_) => 3,
            Self::Input(_) | Self::File(_) => 4,
        }
    }
}

/// Copies what stands at `position` to `target`, as far as there is something, and says how much.
pub(crate) fn copy_from(source: &[u8], position: u64, target: &mut [u8]) -> usize {
    let rest = usize::try_from(position).ok().and_then(|at| source.get(at..)).unwrap_or(&[]);
    let count = rest.len().min(target.len());
    target[..count].copy_from_slice(&rest[..count]);
    count
}

#[derive(Debug)]
struct Slot {
    node: Node,
    linked: bool,
    opened: u32,
}

/// Where a path leads: the directory it ends in, the last name, and what stands there.
#[derive(Debug)]
pub(crate) struct Place<'p> {
    /// The directory.
    pub(crate) parent: NodeId,
    /// The name in it; empty when the path is the directory itself.
    pub(crate) name: &'p str,
    /// What has that name.
    pub(crate) node: Option<NodeId>,
}

/// All files of one run.
#[derive(Debug)]
pub(crate) struct Files {
    slots: Vec<Option<Slot>>,
    free: Vec<NodeId>,
    used: u64,
    limit: u64,
}

impl Files {
    /// A root directory that holds `inputs`; what the guest adds may use `limit` bytes.
    pub(crate) fn new(inputs: &[crate::InputFile], limit: u64) -> Self {
        let mut names = BTreeMap::new();
        let mut slots = vec![None];
        for input in inputs {
            names.insert(input.name.clone(), slots.len());
            slots.push(Some(Slot {
                node: Node::Input(input.bytes.clone()),
                linked: true,
                opened: 0,
            }));
        }
        slots[ROOT] = Some(Slot { node: Node::Directory(names), linked: true, opened: 1 });
        Self { slots, free: Vec::new(), used: 0, limit }
    }

    /// The node `id`, which must be linked or open.
    pub(crate) fn node(&self, id: NodeId) -> Result<&Node, Errno> {
        self.slots.get(id).and_then(Option::as_ref).map(|slot| &slot.node).ok_or(Errno::BadFd)
    }

    fn slot(&mut self, id: NodeId) -> Result<&mut Slot, Errno> {
        self.slots.get_mut(id).and_then(Option::as_mut).ok_or(Errno::BadFd)
    }

    fn names(&mut self, id: NodeId) -> Result<&mut BTreeMap<String, NodeId>, Errno> {
        match &mut self.slot(id)?.node {
            Node::Directory(names) => Ok(names),
            _ => Err(Errno::NotDirectory),
        }
    }

    fn lookup(&self, directory: NodeId, name: &str) -> Result<Option<NodeId>, Errno> {
        match self.node(directory)? {
            Node::Directory(names) => Ok(names.get(name).copied()),
            _ => Err(Errno::NotDirectory),
        }
    }

    /// Follows `path` from the directory `from`, which it may not leave.
    pub(crate) fn resolve<'p>(&self, from: NodeId, path: &'p [u8]) -> Result<Place<'p>, Errno> {
        if path.len() > MAX_PATH {
            return Err(Errno::NameTooLong);
        }
        let path = std::str::from_utf8(path).map_err(|_| Errno::IllegalSequence)?;
        if path.is_empty() {
            return Err(Errno::NoEntry);
        }
        if path.starts_with('/') || path.contains('\0') {
            return Err(Errno::NotCapable);
        }
        let mut above = Vec::new();
        let mut place = Place { parent: from, name: "", node: Some(from) };
        for part in path.split('/').filter(|part| !matches!(*part, "" | ".")) {
            let here = place.node.ok_or(Errno::NoEntry)?;
            place = if part == ".." {
                let up = above.pop().ok_or(Errno::NotCapable)?;
                Place { parent: up, name: "", node: Some(up) }
            } else {
                above.push(here);
                self.step(here, part)?
            };
        }
        if path.ends_with('/') {
            self.must_be_directory(&place)?;
        }
        Ok(place)
    }

    fn step<'p>(&self, here: NodeId, part: &'p str) -> Result<Place<'p>, Errno> {
        if part.len() > MAX_NAME {
            return Err(Errno::NameTooLong);
        }
        Ok(Place { parent: here, name: part, node: self.lookup(here, part)? })
    }

    fn must_be_directory(&self, place: &Place<'_>) -> Result<(), Errno> {
        match place.node.map(|id| self.node(id)).transpose()? {
            None | Some(Node::Directory(_)) => Ok(()),
            Some(_) => Err(Errno::NotDirectory),
        }
    }

    fn spend(&mut self, bytes: u64) -> Result<(), Errno> {
        let used = self
            .used
            .checked_add(bytes)
            .filter(|used| *used <= self.limit)
            .ok_or(Errno::NoSpace)?;
        self.used = used;
        Ok(())
    }

    fn add(&mut self, place: &Place<'_>, node: Node) -> Result<NodeId, Errno> {
        if !self.slot(place.parent)?.linked {
            return Err(Errno::NoEntry);
        }
        self.spend(ENTRY_COST)?;
        let slot = Some(Slot { node, linked: true, opened: 0 });
        let id = match self.free.pop() {
            Some(id) => {
                self.slots[id] = slot;
                id
            }
            None => {
                self.slots.push(slot);
                self.slots.len() - 1
            }
        };
        self.names(place.parent)?.insert(place.name.to_owned(), id);
        Ok(id)
    }

    /// Makes an empty file at a free place.
    pub(crate) fn create(&mut self, place: &Place<'_>) -> Result<NodeId, Errno> {
        self.add(place, Node::File(Contents::default()))
    }

    /// Makes a directory at a free place.
    pub(crate) fn create_directory(&mut self, place: &Place<'_>) -> Result<(), Errno> {
        match place.node {
            Some(_) => Err(Errno::Exists),
            None => self.add(place, Node::Directory(BTreeMap::new())).map(drop),
        }
    }

    /// Counts an open handle.
    pub(crate) fn opened(&mut self, id: NodeId) -> Result<(), Errno> {
        self.slot(id)?.opened += 1;
        Ok(())
    }

    /// Forgets an open handle.
    pub(crate) fn closed(&mut self, id: NodeId) -> Result<(), Errno> {
        let slot = self.slot(id)?;
        slot.opened = slot.opened.saturating_sub(1);
        self.release(id)
    }

    fn release(&mut self, id: NodeId) -> Result<(), Errno> {
        let slot = self.slot(id)?;
        if !slot.linked && slot.opened == 0 {
            self.used = self.used.saturating_sub(ENTRY_COST + self.node(id)?.size());
            self.slots[id] = None;
            self.free.push(id);
        }
        Ok(())
    }

    fn unlink(&mut self, place: &Place<'_>, id: NodeId) -> Result<(), Errno> {
        self.names(place.parent)?.remove(place.name);
        self.slot(id)?.linked = false;
        self.release(id)
    }

    fn named(place: &Place<'_>) -> Result<NodeId, Errno> {
        let id = place.node.ok_or(Errno::NoEntry)?;
        if place.name.is_empty() { Err(Errno::Invalid) } else { Ok(id) }
    }

    /// Removes a file.
    pub(crate) fn unlink_file(&mut self, place: &Place<'_>) -> Result<(), Errno> {
        let id = Self::named(place)?;
        match self.node(id)? {
            Node::Directory(_) => Err(Errno::IsDirectory),
            Node::Input(_) => Err(Errno::ReadOnly),
            Node::File(_) => self.unlink(place, id),
        }
    }

    /// Removes an empty directory.
    pub(crate) fn remove_directory(&mut self, place: &Place<'_>) -> Result<(), Errno> {
        let id = Self::named(place)?;
        if !self.names(id)?.is_empty() {
            return Err(Errno::NotEmpty);
        }
        self.unlink(place, id)
    }

    /// Moves a file or directory, replacing a file or an empty directory of the same kind.
    pub(crate) fn rename(&mut self, from: &Place<'_>, to: &Place<'_>) -> Result<(), Errno> {
        let id = Self::named(from)?;
        if to.name.is_empty() {
            return Err(Errno::Invalid);
        }
        if matches!(self.node(id)?, Node::Input(_)) {
            return Err(Errno::ReadOnly);
        }
        if to.node == Some(id) {
            return Ok(());
        }
        if self.contains(id, to.parent)? {
            return Err(Errno::Invalid);
        }
        self.make_room(id, to)?;
        self.names(from.parent)?.remove(from.name);
        self.names(to.parent)?.insert(to.name.to_owned(), id);
        Ok(())
    }

    fn make_room(&mut self, moved: NodeId, to: &Place<'_>) -> Result<(), Errno> {
        if !self.slot(to.parent)?.linked {
            return Err(Errno::NoEntry);
        }
        let Some(target) = to.node else { return Ok(()) };
        match (self.node(moved)?, self.node(target)?) {
            (_, Node::Input(_)) => Err(Errno::ReadOnly),
            (Node::Directory(_), Node::Directory(_)) => self.remove_directory(to),
            (Node::Directory(_), _) => Err(Errno::NotDirectory),
            (_, Node::Directory(_)) => Err(Errno::IsDirectory),
            _ => self.unlink(to, target),
        }
    }

    /// Whether `inner` is `outer` or lies below it.
    fn contains(&self, outer: NodeId, inner: NodeId) -> Result<bool, Errno> {
        let mut left = vec![outer];
        while let Some(id) = left.pop() {
            if id == inner {
                return Ok(true);
            }
            if let Node::Directory(names) = self.node(id)? {
                left.extend(names.values());
            }
        }
        Ok(false)
    }

    /// Writes `bytes` at `at`, as many as the scratch limit allows; the gap before `at` is zeros.
    pub(crate) fn write(&mut self, id: NodeId, at: u64, bytes: &[u8]) -> Result<usize, Errno> {
        let size = self.node(id)?.size();
        let room = self.limit.saturating_sub(self.used).saturating_add(size);
        let fits = usize::try_from(room.saturating_sub(at)).unwrap_or(usize::MAX).min(bytes.len());
        if fits == 0 {
            return if bytes.is_empty() { Ok(0) } else { Err(Errno::NoSpace) };
        }
        let end = at.checked_add(fits as u64).ok_or(Errno::NoSpace)?;
        if end > size {
            self.resize(id, end)?;
        }
        self.contents_mut(id)?.write(at, &bytes[..fits]);
        Ok(fits)
    }

    fn contents_mut(&mut self, id: NodeId) -> Result<&mut Contents, Errno> {
        match &mut self.slot(id)?.node {
            Node::File(contents) => Ok(contents),
            Node::Input(_) => Err(Errno::ReadOnly),
            Node::Directory(_) => Err(Errno::IsDirectory),
        }
    }

    /// Cuts or extends a file with zeros.
    pub(crate) fn resize(&mut self, id: NodeId, size: u64) -> Result<(), Errno> {
        let before = self.contents_mut(id)?.len();
        if size > before {
            self.spend(size - before)?;
        } else {
            self.used = self.used.saturating_sub(before - size);
        }
        self.contents_mut(id)?.resize(size);
        Ok(())
    }
}
