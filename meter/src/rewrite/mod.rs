//! The second pass: writes the new module from the original and its plans.
//!
//! Appends types, functions, a table and globals; redirects every use of an import to its thunk;
//! drops the start section and all custom sections; copies the rest.

mod body;
mod bulk;
mod cold;
mod growth;
mod hoist;
mod layout;
mod nan;
mod runtime;
mod state;

use crate::cost::{CostTable, HostCost, Moved};
use crate::error::MeterError;
use crate::inspect::{FEATURES, Facts, Helper};
use crate::{Profile, Slices, abi};
use bulk::Bulk;
use growth::Growth;
use layout::{Layout, Types};
use std::convert::Infallible;
use wasm_encoder::reencode::{self, Reencode};
use wasm_encoder::{
    BlockType, BranchHints, CodeSection, ConstExpr, DataCountSection, DataSection, ElementSection,
    ExportKind, ExportSection, Function, FunctionSection, GlobalSection, GlobalType, ImportSection,
    InstructionSink, MemorySection, MemoryType, Module, RefType, TableSection, TableType,
    TypeSection, ValType,
};
use wasmparser::{FunctionBody, Parser, Payload, Validator, WasmFeatures};

/// A function of the meter's own.
struct Code {
    ty: u32,
    function: Function,
}

impl Code {
    fn new(types: &mut Types, params: &[ValType], results: &[ValType], function: Function) -> Self {
        Self { ty: types.intern(params, results), function }
    }
}

/// A function body with locals of the given types, closed with its `end`.
fn function(locals: &[ValType], write: impl FnOnce(&mut InstructionSink<'_>)) -> Function {
    let mut function = Function::new_with_locals_types(locals.iter().copied());
    let mut code = function.instructions();
    write(&mut code);
    code.end();
    function
}

/// Writes the metered module and validates it.
pub(crate) fn rewrite(
    original: &[u8],
    facts: &Facts,
    profile: &Profile,
) -> Result<Vec<u8>, MeterError> {
    let layout = Layout::new(facts, profile.slices);
    let mut types = Types::new(facts);
    let mut pass = Rewriter { facts, costs: profile.costs, layout: &layout, types: &mut types };
    let sections = pass.sections(original).map_err(output)?;
    let bytes = sections.assemble(facts, &layout, &types).map_err(output)?;
    let features = match profile.slices {
        Slices::Hook => FEATURES,
        Slices::Poll => FEATURES.union(WasmFeatures::MULTI_MEMORY),
    };
    let mut validator = Validator::new_with_features(features);
    validator.validate_all(&bytes).map_err(output)?;
    Ok(bytes)
}

/// The original is valid, so whatever goes wrong from here on is the meter's doing.
fn output(error: impl std::fmt::Display) -> MeterError {
    MeterError::Output { message: error.to_string() }
}

type Fault = reencode::Error<Infallible>;

/// The sections of the new module, all but the types, which are complete only at the end.
#[derive(Default)]
struct Sections<'a> {
    types: Option<wasmparser::TypeSectionReader<'a>>,
    imports: ImportSection,
    functions: FunctionSection,
    tables: TableSection,
    memories: MemorySection,
    globals: GlobalSection,
    exports: ExportSection,
    elements: ElementSection,
    data_count: Option<DataCountSection>,
    hints: BranchHints,
    code: CodeSection,
    data: DataSection,
}

impl Sections<'_> {
    fn assemble(mut self, facts: &Facts, layout: &Layout, types: &Types) -> Result<Vec<u8>, Fault> {
        let mut remap = Remap { layout };
        let mut all_types = TypeSection::new();
        if let Some(section) = self.types.take() {
            remap.parse_type_section(&mut all_types, section)?;
        }
        for (params, results) in types.added() {
            all_types.ty().function(params.iter().copied(), results.iter().copied());
        }
        append_exports(&mut self.exports, facts, layout);
        if facts.steps.are_whole() {
            state::exports(&mut self.exports, facts, layout);
        }
        let mut module = Module::new();
        module.section(&all_types).section(&self.imports).section(&self.functions);
        module.section(&self.tables).section(&self.memories).section(&self.globals);
        module.section(&self.exports).section(&self.elements);
        if let Some(data_count) = self.data_count {
            module.section(&data_count);
        }
        if !self.hints.is_empty() {
            module.section(&self.hints);
        }
        module.section(&self.code).section(&self.data);
        Ok(module.finish())
    }
}

/// Redirects uses of imported functions to their thunks; every other index stays as it is.
struct Remap<'l> {
    layout: &'l Layout,
}

impl Reencode for Remap<'_> {
    type Error = Infallible;

    fn function_index(&mut self, function: u32) -> Result<u32, Fault> {
        Ok(self.layout.function(function))
    }
}

struct Rewriter<'a> {
    facts: &'a Facts,
    costs: &'a CostTable,
    layout: &'a Layout,
    types: &'a mut Types,
}

impl Rewriter<'_> {
    fn sections<'m>(&mut self, original: &'m [u8]) -> Result<Sections<'m>, Fault> {
        let mut sections = Sections::default();
        let mut plans = self.facts.plans.iter().enumerate();
        for payload in Parser::new(0).parse_all(original) {
            match payload? {
                Payload::CodeSectionEntry(body) => {
                    if let Some((defined, _)) = plans.next() {
                        let body = self.body(defined, &body)?;
                        let index = self.facts.import_count() + crate::inspect::count(defined);
                        cold::hint(&mut sections.hints, index, body.base, &body.cold);
                        sections.code.function(&body.function);
                    }
                }
                payload => self.section(&mut sections, payload)?,
            }
        }
        self.append(&mut sections);
        Ok(sections)
    }

    fn section<'m>(
        &mut self,
        sections: &mut Sections<'m>,
        payload: Payload<'m>,
    ) -> Result<(), Fault> {
        let mut remap = Remap { layout: self.layout };
        match payload {
            Payload::TypeSection(s) => sections.types = Some(s),
            Payload::ImportSection(s) => remap.parse_import_section(&mut sections.imports, s)?,
            Payload::FunctionSection(s) => {
                remap.parse_function_section(&mut sections.functions, s)?;
            }
            Payload::TableSection(s) => remap.parse_table_section(&mut sections.tables, s)?,
            Payload::MemorySection(s) => remap.parse_memory_section(&mut sections.memories, s)?,
            Payload::GlobalSection(s) => remap.parse_global_section(&mut sections.globals, s)?,
            Payload::ExportSection(s) => remap.parse_export_section(&mut sections.exports, s)?,
            Payload::ElementSection(s) => remap.parse_element_section(&mut sections.elements, s)?,
            Payload::DataCountSection { count, .. } => {
                sections.data_count = Some(DataCountSection { count });
            }
            Payload::DataSection(s) => remap.parse_data_section(&mut sections.data, s)?,
            _ => {}
        }
        Ok(())
    }

    fn body(&mut self, defined: usize, body: &FunctionBody<'_>) -> Result<body::Body, Fault> {
        let mut remap = Remap { layout: self.layout };
        let mut locals = Vec::new();
        for group in body.get_locals_reader()? {
            let (count, ty) = group?;
            locals.push((count, remap.val_type(ty)?));
        }
        let results = self.block_type(defined)?;
        let plan = &self.facts.plans[defined];
        Ok(body::rewrite(self.layout, plan, body, locals, results)?)
    }

    /// The type of a block that leaves the results of a function of the guest's.
    fn block_type(&mut self, defined: usize) -> Result<BlockType, Fault> {
        let ty = self.facts.functions[self.facts.imports.len() + defined];
        let results = self.facts.types[ty as usize].results();
        let results = Remap { layout: self.layout }.val_types(results.to_vec())?;
        Ok(match results.as_slice() {
            [] => BlockType::Empty,
            [one] => BlockType::Result(*one),
            many => BlockType::FunctionType(self.types.intern(&[], many)),
        })
    }

    /// What an import costs. Without a memory nothing can have been moved.
    fn host_cost(&self, import: u32) -> HostCost {
        let (module, name) = &self.facts.import_names[import as usize];
        let free = HostCost { module: "", name: "", base: 0, byte: 0, moved: Moved::Nothing };
        let mut cost = self.costs.host(module, name).copied().unwrap_or(free);
        if self.facts.memory.is_none() {
            cost.moved = Moved::Nothing;
        }
        cost
    }

    fn append(&mut self, sections: &mut Sections<'_>) {
        for (import, ty) in (0..).zip(&self.facts.imports) {
            let thunk = runtime::Thunk {
                import,
                ty: &self.facts.types[*ty as usize],
                cost: self.host_cost(import),
            };
            sections.functions.function(*ty);
            sections.code.function(&thunk.code(self.layout));
        }
        let mut own = runtime::functions(self.layout, self.types);
        own.extend(
            self.facts.helpers.iter().map(|helper| {
                helper_code(*helper, self.facts, self.layout, self.types, self.costs)
            }),
        );
        append_globals(&mut sections.globals);
        if let Some(seed) = self.facts.options.scramble {
            own.extend(nan::scramblers(self.layout.globals.random, self.types));
            let random = ConstExpr::i64_const((seed | 1).cast_signed());
            sections.globals.global(mutable(ValType::I64), &random);
        }
        let mut hooks = 1;
        if self.facts.steps.are_whole() {
            own.extend(state::functions(self.facts, self.layout, self.types));
            state::globals(&mut sections.globals, &self.facts.state);
            state::references(&mut sections.elements, self.facts, self.layout);
            hooks += u64::from(self.facts.function_count());
        }
        if self.layout.control.is_some() {
            sections.memories.memory(MemoryType {
                minimum: 1,
                maximum: Some(1),
                memory64: false,
                shared: false,
                page_size_log2: None,
            });
        }
        for code in own {
            sections.functions.function(code.ty);
            sections.code.function(&code.function);
        }
        sections.tables.table(TableType {
            element_type: RefType::FUNCREF,
            table64: false,
            minimum: hooks,
            maximum: Some(hooks),
            shared: false,
        });
    }
}

fn helper_code(
    helper: Helper,
    facts: &Facts,
    layout: &Layout,
    types: &mut Types,
    costs: &CostTable,
) -> Code {
    if let Some(bulk) = Bulk::new(helper) {
        return bulk.code(layout, types, costs);
    }
    let growth = match helper {
        Helper::TableGrow => Growth::table(facts.table.and_then(|table| table.maximum)),
        _ => Growth::memory(facts.memory.and_then(|memory| memory.maximum)),
    };
    growth.code(layout, types, costs)
}

fn mutable(val_type: ValType) -> GlobalType {
    GlobalType { val_type, mutable: true, shared: false }
}

/// In the order of [`layout::Globals`].
fn append_globals(globals: &mut GlobalSection) {
    for _ in 0..3 {
        globals.global(mutable(ValType::I64), &ConstExpr::i64_const(0));
    }
    for _ in 0..4 {
        globals.global(mutable(ValType::I32), &ConstExpr::i32_const(0));
    }
    for _ in 0..2 {
        globals.global(mutable(ValType::I64), &ConstExpr::i64_const(0));
    }
}

fn append_exports(exports: &mut ExportSection, facts: &Facts, layout: &Layout) {
    let globals = layout.globals;
    for (name, index) in [
        (abi::MARK, globals.mark),
        (abi::COUNT, globals.count),
        (abi::LIMIT, globals.limit),
        (abi::STACK, globals.stack),
        (abi::PAGES, globals.pages),
        (abi::ENTRIES, globals.entries),
        (abi::CAUSE, globals.cause),
        (abi::INTEGRAL, globals.integral),
        (abi::GROWN, globals.grown),
    ] {
        exports.export(name, ExportKind::Global, index);
    }
    exports.export(abi::HOOKS, ExportKind::Table, layout.hooks);
    if facts.memory.is_some() {
        exports.export(abi::MEMORY, ExportKind::Memory, 0);
    }
    if let Some(control) = layout.control {
        exports.export(abi::CONTROL, ExportKind::Memory, control);
    }
    exports.export(abi::FINISH, ExportKind::Func, layout.runtime.check);
    if let Some(start) = facts.start {
        exports.export(abi::START, ExportKind::Func, layout.function(start));
    }
}
