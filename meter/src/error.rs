//! Why a module is refused.

use thiserror::Error;

/// A screening limit, see [`crate::Screen`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum Limit {
    /// Bytes of the whole module.
    #[error("bytes of the module")]
    ModuleBytes,
    /// Functions, imported ones included.
    #[error("functions")]
    Functions,
    /// Memories.
    #[error("memories")]
    Memories,
    /// Tables.
    #[error("tables")]
    Tables,
    /// Entries that the table begins with.
    #[error("entries of a table")]
    TableEntries,
    /// Globals.
    #[error("globals")]
    Globals,
    /// Bytes of one function body.
    #[error("bytes of a function body")]
    BodyBytes,
    /// Parameters and locals of one function.
    #[error("parameters and locals of a function")]
    Locals,
    /// Nested blocks of one function.
    #[error("nested blocks of a function")]
    ControlDepth,
    /// Loops of a function times its parameters and locals, the meter's own counted.
    #[error("loops times locals of a function")]
    LoopLocals,
    /// Targets of one `br_table`.
    #[error("targets of a br_table")]
    BrTable,
    /// Modelled bytes of one call frame.
    #[error("bytes of a call frame")]
    Frame,
    /// Mutable globals of a module in steps.
    #[error("mutable globals of a module in steps")]
    StepGlobals,
    /// Data and element segments that a module in steps can drop.
    #[error("segments that a module in steps can drop")]
    StepDrops,
}

/// What is wrong with an import.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum ImportFault {
    /// The host offers nothing of that name.
    #[error("is not offered")]
    NotOffered,
    /// It is offered, but with other parameters or results.
    #[error("has another signature than the one offered")]
    Signature,
    /// Only functions can be imported.
    #[error("is not a function")]
    NotAFunction,
}

impl Limit {
    const fn rule(self) -> Rule {
        match self {
            Self::Frame => Rule::Stack,
            _ => Rule::Screening,
        }
    }
}

/// A rule of the metering contract that a module can break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
enum Rule {
    Accepted = 1,
    Stack = 5,
    Screening = 12,
}

impl std::fmt::Display for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = match self {
            Self::Accepted => "what is accepted",
            Self::Stack => "stack",
            Self::Screening => "screening limits",
        };
        write!(f, "rule {} ({name})", *self as u32)
    }
}

/// Why a module was refused. Offsets are bytes from the start of the original module. Each text
/// names the rule, the offset, and the function where there is one.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MeterError {
    /// The module is not valid under the features of the profile.
    #[error("{}: invalid module at offset {offset}{}: {message}", Rule::Accepted, within(*.function))]
    Invalid {
        /// What the validator says.
        message: String,
        /// Where it says so.
        offset: usize,
        /// The function it was in, by its index in the original.
        function: Option<u32>,
    },
    /// A screening limit is exceeded.
    #[error("{}: too many {limit} at offset {offset}{}: {value}, at most {max}", limit.rule(), within(*.function))]
    Screen {
        /// Which limit.
        limit: Limit,
        /// The module's figure.
        value: u64,
        /// The largest figure allowed.
        max: u64,
        /// Where the thing counted stands.
        offset: usize,
        /// The function concerned, by its index in the original.
        function: Option<u32>,
    },
    /// An import cannot be satisfied.
    #[error("{}: import {module:?} {name:?} at offset {offset}{} {fault}", Rule::Accepted, being(*.function))]
    Import {
        /// First part of the import's name.
        module: String,
        /// Second part of the import's name.
        name: String,
        /// What is wrong with it.
        fault: ImportFault,
        /// Where the import stands.
        offset: usize,
        /// The index that it would have as a function.
        function: Option<u32>,
    },
    /// An export uses a name that belongs to the meter.
    #[error(
        "{}: export {name:?} at offset {offset}{} uses the reserved prefix {:?}",
        Rule::Accepted, being(*.function), crate::abi::PREFIX
    )]
    ReservedExport {
        /// The export's name.
        name: String,
        /// Where the export stands.
        offset: usize,
        /// The function exported, by its index, if it is one.
        function: Option<u32>,
    },
    /// `_start` is exported, but not as a function without parameters and results.
    #[error(
        "{}: export \"_start\" at offset {offset}{} is not a function without parameters and results",
        Rule::Accepted, being(*.function)
    )]
    StartSignature {
        /// Where the export stands.
        offset: usize,
        /// The function exported, by its index, if it is one.
        function: Option<u32>,
    },
    /// A module in steps exports `_initialize`, but not as a function without parameters and results.
    #[error(
        "export \"_initialize\" at offset {offset} is not a function without parameters and results"
    )]
    InitializeSignature {
        /// Where the export section starts.
        offset: usize,
    },
    /// The rewritten module does not validate: a fault of the meter, never of the guest.
    #[error("the metered module is invalid: {message}")]
    Output {
        /// What the validator says.
        message: String,
    },
}

impl MeterError {
    /// The rule of the metering contract that was broken: 1 for what is accepted at all, 5 for the
    /// frame of a call, 12 for the screening limits.
    #[must_use]
    pub fn rule(&self) -> u32 {
        match self {
            Self::Screen { limit, .. } => limit.rule() as u32,
            _ => Rule::Accepted as u32,
        }
    }

    pub(crate) fn invalid(error: &wasmparser::BinaryReaderError, function: Option<u32>) -> Self {
        // Some of the validator's messages have many lines.
        let message = error.message().split_whitespace().collect::<Vec<_>>().join(" ");
        Self::Invalid { message, offset: error.offset(), function }
    }
}

impl From<wasmparser::BinaryReaderError> for MeterError {
    fn from(error: wasmparser::BinaryReaderError) -> Self {
        Self::invalid(&error, None)
    }
}

fn within(function: Option<u32>) -> String {
    function.map(|index| format!(" in function {index}")).unwrap_or_default()
}

fn being(function: Option<u32>) -> String {
    function.map(|index| format!(" (function {index})")).unwrap_or_default()
}
