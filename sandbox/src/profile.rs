//! The deterministic profile: what the meter is told, and the versions that receipts name.

use tallymill_meter::{
    CostTable, Import, METER_VERSION, MeterError, Metered, Profile, Screen, Ty, meter,
};
use tallymill_protocol::{Digest, Limits, PROFILE_VERSION, Versions};

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
    Profile { imports: &IMPORTS, screen: Screen::default(), costs: CostTable::v1() }
}

/// The versions that decide what a count of fuel means.
#[must_use]
pub fn versions() -> Versions {
    let costs = Digest(CostTable::v1().hash());
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
        "the module exports no function \"_start\"; build it as a WASI command (target wasm32-wasip1)"
    )]
    NoStart,
    /// Host functions would have nothing to write to.
    #[error("the module imports {MODULE} functions but does not export its memory as \"memory\"")]
    NoMemory,
}

/// Meters a module and checks that it is a WASI command. Nothing is compiled.
///
/// # Errors
/// Why the module is refused; the meter's refusals name function and offset.
pub fn screen(module: &[u8]) -> Result<Metered, ModuleError> {
    let metered = meter(module, &profile())?;
    if !metered.info.exports_start {
        return Err(ModuleError::NoStart);
    }
    if !metered.info.imports.is_empty() && !metered.info.exports_memory {
        return Err(ModuleError::NoMemory);
    }
    Ok(metered)
}

/// Pages and table entries a guest may grow to.
pub(crate) fn extents(limits: &Limits) -> (u32, u32) {
    let pages = (limits.memory / PAGE).min(PAGE);
    (u32::try_from(pages).unwrap_or(u32::MAX), u32::try_from(limits.table).unwrap_or(u32::MAX))
}
