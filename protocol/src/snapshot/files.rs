//! Files and directories of a guest.

use std::collections::BTreeSet;

use crate::cbor::{Blob, DecodeError, Decoder, Encoder, Field, List, Message, Text};

/// Most files and directories.
pub const MAX_NODES: usize = 1 << 20;
/// Longest file of a guest, bytes; the scratch limit of the manifest is what bounds it.
const MAX_FILE: usize = 1 << 31;

/// What a node is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Content {
    /// A directory: names in their order, with the numbers of what they name.
    Directory(Vec<(String, u32)>),
    /// A read-only file of the job, by its position among the manifest's files.
    Input(u32),
    /// A file that the guest made.
    File(Vec<u8>),
}

/// A file or directory.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Node {
    /// Its number, which the guest sees as inode.
    pub number: u32,
    /// Whether a directory names it.
    pub linked: bool,
    /// What it is.
    pub content: Content,
}

impl Field for (Text<255>, u32) {
    fn encode(&self, e: &mut Encoder) {
        e.map(2);
        e.uint(0);
        self.0.encode(e);
        e.uint(1);
        self.1.encode(e);
    }

    fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let (mut name, mut number) = (None, None);
        d.map("name", |key, d| {
            match key {
                0 => name = Some(Text::decode(d)?),
                1 => number = Some(u32::decode(d)?),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        name.zip(number).ok_or_else(|| d.invalid("a directory's entry is a name and a number"))
    }
}

type Names = List<(Text<255>, u32), MAX_NODES>;

impl Field for Node {
    fn encode(&self, e: &mut Encoder) {
        e.map(3);
        e.uint(0);
        self.number.encode(e);
        e.uint(1);
        e.uint(u64::from(self.linked));
        match &self.content {
            Content::Directory(names) => {
                e.uint(2);
                e.array(names.len());
                names.iter().for_each(|(name, node)| (Text::<255>(name.clone()), *node).encode(e));
            }
            Content::Input(position) => {
                e.uint(3);
                position.encode(e);
            }
            Content::File(bytes) => {
                e.uint(4);
                e.bytes(bytes);
            }
        }
    }

    fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let (mut number, mut linked, mut contents) = (None, None, Vec::new());
        d.map("node", |key, d| {
            match key {
                0 => number = Some(u32::decode(d)?),
                1 => linked = Some(d.uint()?),
                2 => contents.push(directory(d)?),
                3 => contents.push(Content::Input(u32::decode(d)?)),
                4 => contents.push(Content::File(Blob::<MAX_FILE>::decode(d)?.0)),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        match (number, linked, contents.pop(), contents.is_empty()) {
            (Some(number), Some(linked @ 0..=1), Some(content), true) => {
                Ok(Self { number, linked: linked == 1, content })
            }
            _ => Err(d.invalid("node: a number, whether it is linked, and one content")),
        }
    }
}

fn directory(d: &mut Decoder<'_>) -> Result<Content, DecodeError> {
    let names = Names::decode(d)?.0;
    if !names.is_sorted_by(|a, b| a.0.0 < b.0.0) {
        return Err(d.invalid("directory: names ascending, each once"));
    }
    Ok(Content::Directory(names.into_iter().map(|(name, node)| (name.0, node)).collect()))
}

/// All files and directories. The numbers of nodes and the free ones together are those from 0 on, each once.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Files {
    /// Nodes by number.
    pub nodes: Vec<Node>,
    /// Numbers that were given up, the one that is used next last.
    pub free: Vec<u32>,
}

impl Field for Files {
    fn encode(&self, e: &mut Encoder) {
        e.map(2);
        e.uint(0);
        e.array(self.nodes.len());
        self.nodes.iter().for_each(|node| node.encode(e));
        e.uint(1);
        e.array(self.free.len());
        self.free.iter().for_each(|number| number.encode(e));
    }

    fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let (mut nodes, mut free) = (None, None);
        d.map("files", |key, d| {
            match key {
                0 => nodes = Some(List::<Node, MAX_NODES>::decode(d)?.0),
                1 => free = Some(List::<u32, MAX_NODES>::decode(d)?.0),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        let files = nodes.zip(free).map(|(nodes, free)| Self { nodes, free });
        files.filter(Self::is_whole).ok_or_else(|| d.invalid("files: numbers from 0, each once"))
    }
}

impl Files {
    /// Whether numbers ascend, every number below their count is a node's or free, and names name nodes.
    fn is_whole(&self) -> bool {
        let numbers: BTreeSet<u32> = self.nodes.iter().map(|node| node.number).collect();
        let all: BTreeSet<u32> = numbers.iter().chain(&self.free).copied().collect();
        let count = self.nodes.len() + self.free.len();
        let dense = all.len() == count && all.last().is_none_or(|last| *last as usize + 1 == count);
        let named = self.nodes.iter().flat_map(|node| match &node.content {
            Content::Directory(names) => names.as_slice(),
            _ => &[],
        });
        dense
            && self.nodes.is_sorted_by(|a, b| a.number < b.number)
            && named.map(|(_, node)| node).all(|node| numbers.contains(node))
    }
}

impl Message for Files {
    const NAME: &'static str = "snapshot-files";
    const MAX: usize = 1 << 31;
}
