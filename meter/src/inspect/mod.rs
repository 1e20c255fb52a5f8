//! The first pass: validates the original, applies the screening limits, and notes what the second
//! pass needs. Nothing is rewritten before this pass has seen the whole module.

mod ahead;
mod body;
mod charges;
mod gather;
mod hoist;
mod nan;
mod state;

pub(crate) use body::{Plan, helper};
pub(crate) use charges::{Charge, ChargeKind};
pub(crate) use gather::Gather;
pub(crate) use hoist::{Bound, Compare, Hoist, Step};
pub(crate) use nan::{Mends, Shapes, produces};
pub(crate) use state::{Segment, State};

use crate::error::{ImportFault, Limit, MeterError};
use crate::screen::Place;
use crate::{Import, Profile, StepExports, Ty, abi};
use std::collections::BTreeSet;
use wasmparser::{
    Encoding, ExternalKind, FuncType, FuncValidatorAllocations, FunctionBody, MemoryType, Parser,
    Payload, TableType, TypeRef, ValType, ValidPayload, Validator, WasmFeatures,
};

/// Exactly what a guest may use: Wasm 2.0 without threads, tail calls or anything later.
///
/// Of the reference types `externref` is left out (`wasmparser` calls it a GC type): a guest could
/// only ever hold null ones, and engines built without a collector refuse it.
pub(crate) const FEATURES: WasmFeatures = WasmFeatures::FLOATS
    .union(WasmFeatures::MUTABLE_GLOBAL)
    .union(WasmFeatures::SIGN_EXTENSION)
    .union(WasmFeatures::SATURATING_FLOAT_TO_INT)
    .union(WasmFeatures::MULTI_VALUE)
    .union(WasmFeatures::BULK_MEMORY)
    .union(WasmFeatures::REFERENCE_TYPES)
    .union(WasmFeatures::SIMD);

/// A function of the meter's that stands in for an operator it must look into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Helper {
    MemoryFill,
    MemoryCopy,
    /// One for each data segment, since the segment is an immediate.
    MemoryInit(u32),
    MemoryGrow,
    TableFill,
    TableCopy,
    /// One for each element segment, since the segment is an immediate.
    TableInit(u32),
    TableGrow,
}

/// What the first pass learns about the module.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    pub types: Vec<FuncType>,
    /// Type index of every imported function.
    pub imports: Vec<u32>,
    /// Names of the imported functions, as the guest gives them.
    pub import_names: Vec<(String, String)>,
    /// Type index of every function, imported ones first.
    pub functions: Vec<u32>,
    pub table: Option<TableType>,
    pub memory: Option<MemoryType>,
    pub globals: u32,
    pub start: Option<u32>,
    pub first_import: Option<usize>,
    pub exports_end: Option<usize>,
    pub exports_start: bool,
    pub exports_memory: bool,
    pub steps: StepExports,
    /// What a module in steps keeps between them; gathered of every module.
    pub state: State,
    /// One for each function of the guest's own.
    pub plans: Vec<Plan>,
    pub helpers: BTreeSet<Helper>,
    pub options: Options,
}

/// Departures from the contract, for tests of it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Options {
    /// Replace every computed NaN by random bits from this seed.
    pub scramble: Option<u64>,
    /// Charge every segment when it is entered, check every loop at its header, and look for a NaN at every store.
    pub plain_loops: bool,
}

impl Facts {
    pub(crate) fn import_count(&self) -> u32 {
        count(self.imports.len())
    }

    pub(crate) fn function_count(&self) -> u32 {
        count(self.functions.len())
    }
}

/// A length in an index space: the module has at most 2³² bytes, so it always fits.
pub(crate) fn count(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

/// Validates and screens a module.
pub(crate) fn inspect(
    original: &[u8],
    profile: &Profile,
    options: Options,
) -> Result<Facts, MeterError> {
    profile.screen.check(Limit::ModuleBytes, original.len() as u64, Place::module(0))?;
    let mut pass = Inspector {
        profile,
        validator: Validator::new_with_features(FEATURES),
        allocs: FuncValidatorAllocations::default(),
        facts: Facts { options, ..Facts::default() },
        in_code: false,
    };
    let mut parser = Parser::new(0);
    parser.set_features(FEATURES);
    for payload in parser.parse_all(original) {
        let payload = payload.map_err(|error| pass.invalid(&error))?;
        pass.payload(&payload)?;
    }
    if pass.facts.steps.are_whole() {
        pass.facts.state.screen(&profile.screen)?;
    }
    Ok(pass.facts)
}

struct Inspector<'p> {
    profile: &'p Profile,
    validator: Validator,
    allocs: FuncValidatorAllocations,
    facts: Facts,
    in_code: bool,
}

impl Inspector<'_> {
    fn payload(&mut self, payload: &Payload<'_>) -> Result<(), MeterError> {
        // Counts are screened first so that the error names the limit, and cheaply.
        self.screen(payload)?;
        self.in_code =
            matches!(payload, Payload::CodeSectionStart { .. } | Payload::CodeSectionEntry(_));
        let valid = self.validator.payload(payload).map_err(|error| self.invalid(&error))?;
        if let ValidPayload::Func(func, body) = valid {
            return self.body(func, &body);
        }
        self.note(payload)
    }

    /// What the validator says, with the function whose body is read.
    fn invalid(&self, error: &wasmparser::BinaryReaderError) -> MeterError {
        let next = self.facts.imports.len() + self.facts.plans.len();
        let reads = self.in_code && next < self.facts.functions.len();
        MeterError::invalid(error, reads.then_some(count(next)))
    }

    fn screen(&self, payload: &Payload<'_>) -> Result<(), MeterError> {
        let (limit, value, offset) = match payload {
            Payload::Version { encoding: Encoding::Component, range, .. } => {
                let message = "a component, not a core module".to_owned();
                return Err(MeterError::Invalid { message, offset: range.start, function: None });
            }
            Payload::FunctionSection(s) => {
                let value = u64::from(s.count()) + self.facts.imports.len() as u64;
                (Limit::Functions, value, s.range().start)
            }
            Payload::ImportSection(s) => (Limit::Functions, s.count().into(), s.range().start),
            Payload::MemorySection(s) => (Limit::Memories, s.count().into(), s.range().start),
            Payload::TableSection(s) => (Limit::Tables, s.count().into(), s.range().start),
            Payload::GlobalSection(s) => (Limit::Globals, s.count().into(), s.range().start),
            _ => return Ok(()),
        };
        self.profile.screen.check(limit, value, Place::module(offset))
    }

    fn note(&mut self, payload: &Payload<'_>) -> Result<(), MeterError> {
        match payload {
            Payload::TypeSection(section) => {
                for ty in section.clone().into_iter_err_on_gc_types() {
                    self.facts.types.push(ty?);
                }
            }
            Payload::ImportSection(section) => self.imports(section)?,
            Payload::FunctionSection(section) => {
                for ty in section.clone() {
                    self.facts.functions.push(ty?);
                }
            }
            Payload::TableSection(section) => {
                for table in section.clone().into_iter_with_offsets() {
                    let (offset, table) = table?;
                    let (limit, place) = (Limit::TableEntries, Place::module(offset));
                    self.profile.screen.check(limit, table.ty.initial, place)?;
                    self.facts.table = Some(table.ty);
                }
            }
            Payload::MemorySection(section) => {
                for memory in section.clone() {
                    self.facts.memory = Some(memory?);
                }
            }
            Payload::GlobalSection(section) => {
                self.facts.globals = section.count();
                self.facts.state.globals(section)?;
            }
            Payload::ElementSection(section) => self.facts.state.elements(section)?,
            Payload::DataSection(section) => self.facts.state.data = section.count(),
            Payload::ExportSection(section) => self.exports(section)?,
            Payload::StartSection { func, .. } => self.facts.start = Some(*func),
            _ => {}
        }
        Ok(())
    }

    fn imports(&mut self, section: &wasmparser::ImportSectionReader<'_>) -> Result<(), MeterError> {
        for import in section.clone().into_imports_with_offsets() {
            let (offset, import) = import?;
            self.facts.first_import.get_or_insert(offset);
            let is_function = matches!(import.ty, TypeRef::Func(_));
            let function = is_function.then_some(self.facts.import_count());
            let refuse = |fault| MeterError::Import {
                module: import.module.to_owned(),
                name: import.name.to_owned(),
                fault,
                offset,
                function,
            };
            let TypeRef::Func(ty) = import.ty else {
                return Err(refuse(ImportFault::NotAFunction));
            };
            let offered = self.profile.find(import.module, import.name);
            let offered = offered.ok_or_else(|| refuse(ImportFault::NotOffered))?;
            if !self.facts.types.get(ty as usize).is_some_and(|ty| offered.has_type(ty)) {
                return Err(refuse(ImportFault::Signature));
            }
            self.facts.imports.push(ty);
            self.facts.functions.push(ty);
            self.facts.import_names.push((import.module.to_owned(), import.name.to_owned()));
        }
        Ok(())
    }

    fn exports(&mut self, section: &wasmparser::ExportSectionReader<'_>) -> Result<(), MeterError> {
        self.facts.exports_end = Some(section.range().end);
        let mut odd_initialize = None;
        for export in section.clone().into_iter_with_offsets() {
            let (offset, export) = export?;
            let function = (export.kind == ExternalKind::Func).then_some(export.index);
            if export.name.starts_with(abi::PREFIX) {
                let name = export.name.to_owned();
                return Err(MeterError::ReservedExport { name, offset, function });
            }
            if export.name == "_start" {
                let unit = function.is_some_and(|index| self.takes_nothing(index));
                if !unit {
                    return Err(MeterError::StartSignature { offset, function });
                }
                self.facts.exports_start = true;
            }
            self.facts.exports_memory |=
                export.name == "memory" && export.kind == ExternalKind::Memory;
            if !self.note_step(&export) {
                odd_initialize = Some(offset);
            }
        }
        match odd_initialize {
            Some(offset) if self.facts.steps.are_whole() => {
                Err(MeterError::InitializeSignature { offset })
            }
            _ => Ok(()),
        }
    }

    /// Notes an export of a module in steps; `false` for an `_initialize` of another type.
    fn note_step(&mut self, export: &wasmparser::Export<'_>) -> bool {
        let function = export.kind == ExternalKind::Func;
        let unit = function && self.takes_nothing(export.index);
        let step = function && self.has_type(export.index, &[ValType::I64], &[ValType::I32]);
        let steps = &mut self.facts.steps;
        match export.name {
            "init" => steps.init = unit,
            "step" => steps.step = step,
            "_initialize" => steps.initialize = unit,
            _ => return true,
        }
        unit || export.name != "_initialize"
    }

    fn takes_nothing(&self, function: u32) -> bool {
        self.has_type(function, &[], &[])
    }

    fn has_type(&self, function: u32, params: &[ValType], results: &[ValType]) -> bool {
        let ty = self.facts.functions.get(function as usize);
        let ty = ty.and_then(|ty| self.facts.types.get(*ty as usize));
        ty.is_some_and(|ty| ty.params() == params && ty.results() == results)
    }

    fn body(
        &mut self,
        func: wasmparser::FuncToValidate<wasmparser::ValidatorResources>,
        body: &FunctionBody<'_>,
    ) -> Result<(), MeterError> {
        let mut validator = func.into_validator(std::mem::take(&mut self.allocs));
        let ty = self.facts.functions.get(self.facts.imports.len() + self.facts.plans.len());
        let ty = ty.and_then(|ty| self.facts.types.get(*ty as usize));
        let params = count(ty.map_or(0, |ty| ty.params().len()));
        let task = body::Task { profile: self.profile, options: self.facts.options, params };
        let (helpers, state) = (&mut self.facts.helpers, &mut self.facts.state);
        let plan = body::plan(body, &mut validator, &task, (helpers, state))?;
        self.facts.plans.push(plan);
        self.allocs = validator.into_allocations();
        Ok(())
    }
}

impl Profile {
    fn find(&self, module: &str, name: &str) -> Option<&Import> {
        self.imports.iter().find(|offer| offer.module == module && offer.name == name)
    }
}

impl Import {
    fn has_type(&self, ty: &FuncType) -> bool {
        let same = |ours: &[Ty], theirs: &[ValType]| {
            ours.len() == theirs.len()
                && ours.iter().zip(theirs).all(|(ours, theirs)| match ours {
                    Ty::I32 => *theirs == ValType::I32,
                    Ty::I64 => *theirs == ValType::I64,
                })
        };
        same(self.params, ty.params()) && same(self.results, ty.results())
    }
}
