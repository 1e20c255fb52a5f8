//! The screening limits: what a module may be before any compiler sees it.

use crate::error::{Limit, MeterError};

/// The largest figures a module may have. Compilers take super-linear time over what lies beyond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Screen {
    /// Bytes of the whole module.
    pub module_bytes: u32,
    /// Functions, imported ones included.
    pub functions: u32,
    /// Memories.
    pub memories: u32,
    /// Tables of the guest's own.
    pub tables: u32,
    /// Entries that the guest's table begins with: what no manifest can grant.
    pub table_entries: u32,
    /// Globals of the guest's own: every instance begins by writing them.
    pub globals: u32,
    /// Bytes of one function body, its locals included.
    pub body_bytes: u32,
    /// Parameters and locals of one function.
    pub locals: u32,
    /// Nested blocks of one function, the function itself not counted.
    pub control_depth: u32,
    /// Loops of one function times its parameters and locals plus one, the meter's counter.
    pub loop_locals: u32,
    /// Targets of one `br_table`, the default not counted.
    pub br_table: u32,
    /// Modelled bytes of one call frame (see [`crate::abi::FRAME_BASE`]).
    pub frame_bytes: u32,
    /// Mutable globals of a module in steps.
    pub step_globals: u32,
    /// Data and element segments that a module in steps can drop.
    pub step_drops: u32,
}

impl Default for Screen {
    /// The limits of meter version 1.
    fn default() -> Self {
        Self {
            module_bytes: 8 << 20,
            functions: 20_000,
            memories: 1,
            tables: 1,
            table_entries: 10_000_000,
            globals: 10_000,
            body_bytes: 256 << 10,
            locals: 1_000,
            control_depth: 200,
            loop_locals: 20_000,
            br_table: 4_096,
            frame_bytes: 64 << 10,
            step_globals: 1_024,
            step_drops: 1_024,
        }
    }
}

impl Screen {
    /// The figure that belongs to a limit.
    #[must_use]
    pub fn max(&self, limit: Limit) -> u32 {
        match limit {
            Limit::ModuleBytes => self.module_bytes,
            Limit::Functions => self.functions,
            Limit::Memories => self.memories,
            Limit::Tables => self.tables,
            Limit::TableEntries => self.table_entries,
            Limit::Globals => self.globals,
            Limit::BodyBytes => self.body_bytes,
            Limit::Locals => self.locals,
            Limit::ControlDepth => self.control_depth,
            Limit::LoopLocals => self.loop_locals,
            Limit::BrTable => self.br_table,
            Limit::Frame => self.frame_bytes,
            Limit::StepGlobals => self.step_globals,
            Limit::StepDrops => self.step_drops,
        }
    }

    pub(crate) fn check(&self, limit: Limit, value: u64, at: Place) -> Result<(), MeterError> {
        let max = u64::from(self.max(limit));
        if value <= max {
            return Ok(());
        }
        let Place { offset, function } = at;
        Err(MeterError::Screen { limit, value, max, offset, function })
    }
}

/// Where in the original something stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub offset: usize,
    pub function: Option<u32>,
}

impl Place {
    pub(crate) fn module(offset: usize) -> Self {
        Self { offset, function: None }
    }

    pub(crate) fn function(offset: usize, index: u32) -> Self {
        Self { offset, function: Some(index) }
    }
}
