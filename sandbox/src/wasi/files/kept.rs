//! Files as a snapshot holds them.

use std::collections::{BTreeMap, HashSet};

use tallymill_protocol::snapshot::{Content, Files as Kept, Node as KeptNode};

use super::{ENTRY_COST, Files, MAX_NAME, Node, NodeId, ROOT, Slot};
use crate::InputFile;
use crate::state::{Misfit, must};

fn small(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

impl Files {
    /// All nodes by number, and the numbers that are free.
    pub(crate) fn kept(&self) -> Kept {
        let content = |id: NodeId, node: &Node| match node {
            Node::Directory(names) => {
                let names = names.iter().map(|(name, id)| (name.clone(), small(*id)));
                Content::Directory(names.collect())
            }
            // Inputs come first of all, in their order, and are never removed.
            Node::Input(_) => Content::Input(small(id.saturating_sub(1))),
            Node::File(bytes) => Content::File(bytes.to_vec()),
        };
        let node = |(id, slot): (NodeId, &Option<Slot>)| {
            let slot = slot.as_ref()?;
            let content = content(id, &slot.node);
            Some(KeptNode { number: small(id), linked: slot.linked, content })
        };
        Kept {
            nodes: self.slots.iter().enumerate().filter_map(node).collect(),
            free: self.free.iter().copied().map(small).collect(),
        }
    }

    /// The files of a snapshot of a job with these inputs; who holds which of them open is not known yet.
    pub(crate) fn restored(kept: &Kept, inputs: &[InputFile], limit: u64) -> Result<Self, Misfit> {
        let count = kept.nodes.len() + kept.free.len();
        let free = kept.free.iter().map(|id| *id as usize).collect();
        let mut slots: Vec<Option<Slot>> = (0..count).map(|_| None).collect();
        let mut used = 0u64;
        for node in &kept.nodes {
            let id = node.number as usize;
            let (slot, cost) = slot(node, inputs)?;
            used = used.saturating_add(cost);
            *slots.get_mut(id).ok_or(Misfit("a file's number above the highest"))? = Some(slot);
        }
        must(used <= limit, "more in files than the scratch limit")?;
        let files = Self { slots, free, used, limit };
        must(files.is_directory(ROOT) == Some(true), "no root directory")?;
        must(files.inputs_are_there(inputs), "not the job's files")?;
        Ok(files)
    }

    /// Whether a node is a directory; `None` when there is none.
    pub(crate) fn is_directory(&self, id: NodeId) -> Option<bool> {
        self.node(id).ok().map(|node| matches!(node, Node::Directory(_)))
    }

    /// Whether a node is one of the job's files.
    pub(crate) fn is_input(&self, id: NodeId) -> bool {
        matches!(self.node(id), Ok(Node::Input(_)))
    }

    fn inputs_are_there(&self, inputs: &[InputFile]) -> bool {
        let Ok(Node::Directory(root)) = self.node(ROOT) else { return false };
        let named = |(input, id): (&InputFile, NodeId)| root.get(&input.name) == Some(&id);
        inputs.iter().zip(1..).all(named) && (1..=inputs.len()).all(|id| self.is_input(id))
    }

    /// Refuses a tree that is none: every node has one name under the root, or none and is held open.
    pub(crate) fn all_reachable(&self) -> Result<(), Misfit> {
        let (mut found, mut left) = (HashSet::from([ROOT]), vec![ROOT]);
        while let Some(id) = left.pop() {
            let Ok(Node::Directory(names)) = self.node(id) else { continue };
            for (name, id) in names {
                let odd = matches!(name.as_str(), "" | "." | "..") || name.contains(['/', '\0']);
                must(!odd && name.len() <= MAX_NAME, "a name that no file can have")?;
                must(found.insert(*id), "a file with two names")?;
                left.push(*id);
            }
        }
        for (id, slot) in self.slots.iter().enumerate() {
            let Some(slot) = slot else { continue };
            must(slot.linked == found.contains(&id), "a file that no directory leads to")?;
            must(slot.linked || slot.opened > 0, "a file that nobody names or holds")?;
            let empty = !matches!(&slot.node, Node::Directory(names) if !names.is_empty());
            must(slot.linked || empty, "a removed directory that is not empty")?;
        }
        Ok(())
    }
}

/// A node, and what it takes of the scratch limit.
fn slot(kept: &KeptNode, inputs: &[InputFile]) -> Result<(Slot, u64), Misfit> {
    let id = kept.number as usize;
    let (node, cost) = match &kept.content {
        Content::Directory(names) => {
            let names = names.iter().map(|(name, id)| (name.clone(), *id as usize));
            let cost = if id == ROOT { 0 } else { ENTRY_COST };
            (Node::Directory(names.collect::<BTreeMap<_, _>>()), cost)
        }
        Content::Input(position) => {
            let position = *position as usize;
            must(position + 1 == id, "a job's file under another number")?;
            let input = inputs.get(position).ok_or(Misfit("a file that the job has not"))?;
            (Node::Input(input.bytes.clone()), 0)
        }
        Content::File(bytes) => {
            (Node::File(bytes.as_slice().into()), ENTRY_COST.saturating_add(bytes.len() as u64))
        }
    };
    Ok((Slot { node, linked: kept.linked, opened: 0 }, cost))
}
