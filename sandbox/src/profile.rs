//! The deterministic profile: what the meter is told, and the versions that receipts name.

use tallymill_meter::{
    CostTable, Import, METER_VERSION, MeterError, Metered, Profile, Screen, Slices, Ty, meter,
};
use tallymill_protocol::{Digest, Interface, Limits, PROFILE_VERSION, Versions};

use crate::wasi::{MODULE, OFFERED, Parameter};

/// Bytes of a WebAssembly page.
pub(crate) const PAGE: u64 = 65_536;

const fn ty(parameter: Parameter) -> Ty {
    match parameter {
        Parameter::I32 => Ty::I32,
        Parameter::I64 => Ty::I64,
    }
}

/// As many parameters as any function of preview 1 has.
const MOST: usize = 9;

const fn types(parameters: &[Parameter]) -> [Ty; MOST] {
    let mut all = [Ty::I32; MOST];
    let mut at = 0;
    while at < parameters.len() {
        all[at] = ty(parameters[at]);
        at += 1;
    }
    all
}

const PARAMETERS: [[Ty; MOST]; OFFERED.len()] = {
    let mut all = [[Ty::I32; MOST]; OFFERED.len()];
    let mut at = 0;
    while at < OFFERED.len() {
        all[at] = types(OFFERED[at].parameters);
        at += 1;
    }
    all
};

const IMPORTS: [Import; OFFERED.len()] = {
    let mut all = [Import { module: MODULE, name: "", params: &[], results: &[] }; OFFERED.len()];
    let mut at = 0;
    while at < OFFERED.len() {
        let function = OFFERED[at];
        all[at].name = function.name;
        all[at].params = PARAMETERS[at].split_at(function.parameters.len()).0;
        if function.answers {
            all[at].results = &[Ty::I32];
        }
        at += 1;
    }
    all
};

/// What the meter is told about guests: the functions of WASI preview 1, the screening limits and the cost table.
#[must_use]
pub fn profile() -> Profile {
    Profile {
        imports: &IMPORTS,
        screen: Screen::default(),
        costs: CostTable::v3(),
        slices: Slices::Poll,
    }
}

/// The versions that decide what a count of fuel means.
#[must_use]
pub fn versions() -> Versions {
    let costs = Digest(CostTable::v3().hash());
    Versions { meter: METER_VERSION, costs, profile: PROFILE_VERSION }
}

/// Why a module cannot be a job.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModuleError {
    /// The meter refuses it.
    #[error(transparent)]
    Meter(#[from] MeterError),
    /// There is nothing to call.
    #[error(
        "rule 1 (what is accepted): the module exports no function \"_start\", its exports end at offset {offset}; build it as a WASI command (target wasm32-wasip1)"
    )]
    NoStart {
        /// Where its exports end, or the module does.
        offset: usize,
    },
    /// A module in steps lacks one of its functions.
    #[error(
        "rule 1 (what is accepted): the module exports no function \"{export}\" of type {ty}, which a job in steps calls; its exports end at offset {offset}"
    )]
    NoStep {
        /// The function.
        export: &'static str,
        /// Its type.
        ty: &'static str,
        /// Where its exports end, or the module does.
        offset: usize,
    },
    /// The memory of a module in steps cannot be read.
    #[error(
        "rule 1 (what is accepted): the module does not export its memory as \"memory\", which a snapshot of a job in steps holds; its exports end at offset {offset}"
    )]
    HiddenMemory {
        /// Where its exports end, or the module does.
        offset: usize,
    },
    /// Host functions would have nothing to write to.
    #[error(
        "rule 1 (what is accepted): the module imports {MODULE} functions, the first at offset {offset} (function 0), but does not export its memory as \"memory\""
    )]
    NoMemory {
        /// Where its first import stands.
        offset: usize,
    },
}

/// Meters a module and checks that it is a WASI command, or a module in steps. Nothing is compiled.
///
/// # Errors
/// Why the module is refused: the rule, the offset, and the function where there is one.
pub fn screen(module: &[u8]) -> Result<Metered, ModuleError> {
    screen_for(module, profile().slices)
}

/// As [`screen`], for an engine with another way to end slices.
///
/// # Errors
/// As [`screen`].
pub fn screen_for(module: &[u8], slices: Slices) -> Result<Metered, ModuleError> {
    let metered = meter(module, &Profile { slices, ..profile() })?;
    let info = &metered.info;
    if !info.exports_start && !info.steps.are_whole() {
        // Half of an interface is more likely meant than the other one.
        let step = info.steps.init || info.steps.step;
        return Err(if step { lacking(&metered) } else { no_start(&metered) });
    }
    match metered.first_import {
        Some(offset) if !info.exports_memory => Err(ModuleError::NoMemory { offset }),
        _ => Ok(metered),
    }
}

impl ModuleError {
    /// The largest figure allowed, where the module passes a screening limit.
    #[must_use]
    pub const fn limit(&self) -> Option<u64> {
        match self {
            Self::Meter(MeterError::Screen { max, .. }) => Some(*max),
            _ => None,
        }
    }
}

/// The same, and that it has what jobs of this interface call.
///
/// # Errors
/// As [`screen`].
pub fn screen_as(module: &[u8], interface: Interface) -> Result<Metered, ModuleError> {
    let metered = screen(module)?;
    let info = &metered.info;
    match interface {
        Interface::Command if !info.exports_start => Err(no_start(&metered)),
        Interface::Step if !info.steps.are_whole() => Err(lacking(&metered)),
        Interface::Step if !info.exports_memory => {
            Err(ModuleError::HiddenMemory { offset: metered.exports_end })
        }
        _ => Ok(metered),
    }
}

const fn no_start(metered: &Metered) -> ModuleError {
    ModuleError::NoStart { offset: metered.exports_end }
}

const fn lacking(metered: &Metered) -> ModuleError {
    let offset = metered.exports_end;
    match metered.info.steps.init {
        true => ModuleError::NoStep { export: "step", ty: "(i64) -> i32", offset },
        false => ModuleError::NoStep { export: "init", ty: "() -> ()", offset },
    }
}

/// Pages and table entries a guest may grow to.
pub(crate) fn extents(limits: &Limits) -> (u32, u32) {
    let pages = (limits.memory / PAGE).min(PAGE);
    (u32::try_from(pages).unwrap_or(u32::MAX), u32::try_from(limits.table).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_offered_function_has_a_price() {
        for function in OFFERED {
            let cost = profile().costs.host(MODULE, function.name);
            assert!(cost.is_some_and(|cost| cost.base > 0), "{}", function.name);
        }
    }

    #[test]
    fn receipts_name_the_table_that_counts() {
        assert_eq!(versions().costs, Digest(profile().costs.hash()));
    }
}
