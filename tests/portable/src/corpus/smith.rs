//! Modules of wasm-smith's, made to do something: their functions are called with drawn arguments, and a digest of
//! results, globals and memory is written after each.

use std::convert::Infallible;

use arbitrary::Unstructured;
use tallymill_sandbox::profile;
use wasm_encoder::reencode::{self, Reencode};
use wasm_encoder::{
    BlockType, CodeSection, ConstExpr, DataCountSection, DataSection, ElementSection, EntityType,
    ExportKind, ExportSection, Function, FunctionSection, GlobalSection, GlobalType, ImportSection,
    InstructionSink, MemArg, MemorySection, MemoryType, Module, StartSection, TableSection,
    TypeSection, ValType,
};
use wasmparser::{Parser, Payload, TypeRef};

use crate::draw::Draw;

/// Bytes that one module is drawn from.
const ENTROPY: u64 = 3000;
/// Most functions called.
const CALLS: u64 = 4;

/// A module, if the draw makes one that can be given a `_start`.
pub(super) fn module(draw: &mut Draw) -> Option<Vec<u8>> {
    let entropy = draw.bytes(ENTROPY);
    let drawn = wasm_smith::Module::new(config(draw), &mut Unstructured::new(&entropy)).ok()?;
    driven(&drawn.to_bytes(), draw).ok().flatten()
}

fn config(draw: &mut Draw) -> wasm_smith::Config {
    wasm_smith::Config {
        allow_start_export: draw.chance(1, 4),
        available_imports: Some(imports()),
        disallow_traps: draw.chance(1, 2),
        exceptions_enabled: false,
        extended_const_enabled: false,
        gc_enabled: false,
        max_exports: 0,
        max_imports: 4,
        max_instructions: usize::try_from(draw.magnitude(300)).unwrap_or(300),
        max_memory32_bytes: draw.between(1, 32) << 16,
        max_table_elements: draw.between(1, 400),
        memory64_enabled: false,
        min_funcs: 1,
        // It would draw `externref` too, which most often is the end of the module.
        reference_types_enabled: draw.chance(1, 6),
        relaxed_simd_enabled: false,
        simd_enabled: draw.chance(2, 3),
        tail_call_enabled: false,
        threads_enabled: false,
        ..wasm_smith::Config::default()
    }
}

/// A module that imports every function on offer, which is how wasm-smith wants to be told.
fn imports() -> Vec<u8> {
    let mut types = TypeSection::new();
    let mut section = ImportSection::new();
    for (at, import) in (0..).zip(profile().imports) {
        let list =
            |types: &[tallymill_meter::Ty]| types.iter().map(|ty| value(*ty)).collect::<Vec<_>>();
        types.ty().function(list(import.params), list(import.results));
        section.import(import.module, import.name, EntityType::Function(at));
    }
    let mut module = Module::new();
    module.section(&types).section(&section);
    module.finish()
}

const fn value(ty: tallymill_meter::Ty) -> ValType {
    match ty {
        tallymill_meter::Ty::I32 => ValType::I32,
        tallymill_meter::Ty::I64 => ValType::I64,
    }
}

type Fault = reencode::Error<Infallible>;

/// What is known of the module before it is written anew.
#[derive(Default)]
struct Known {
    types: Vec<wasmparser::FuncType>,
    imported: u32,
    functions: Vec<u32>,
    globals: Vec<wasmparser::GlobalType>,
    memory: Option<wasmparser::MemoryType>,
}

impl Known {
    fn read(module: &[u8]) -> Result<Self, Fault> {
        let mut known = Self::default();
        for payload in Parser::new(0).parse_all(module) {
            match payload? {
                Payload::TypeSection(section) => {
                    for ty in section.into_iter_err_on_gc_types() {
                        known.types.push(ty?);
                    }
                }
                Payload::ImportSection(section) => {
                    for import in section.into_imports() {
                        known.imported += u32::from(matches!(import?.ty, TypeRef::Func(_)));
                    }
                }
                Payload::FunctionSection(section) => {
                    known.functions = section.into_iter().collect::<Result<_, _>>()?;
                }
                Payload::GlobalSection(section) => {
                    for global in section {
                        known.globals.push(global?.ty);
                    }
                }
                Payload::MemorySection(section) => {
                    known.memory = section.into_iter().next().transpose()?;
                }
                _ => {}
            }
        }
        Ok(known)
    }

    fn ty(&self, function: usize) -> Option<&wasmparser::FuncType> {
        self.types.get(*self.functions.get(function)? as usize)
    }
}

/// Functions of the module's own move up by one, for our import.
struct Shift(u32);

impl Reencode for Shift {
    type Error = Infallible;

    fn function_index(&mut self, function: u32) -> Result<u32, Fault> {
        Ok(if function < self.0 { function } else { function + 1 })
    }
}

/// Indices of what we add.
struct Ours {
    write: u32,
    mix: u32,
    show: u32,
    hash: u32,
}

fn driven(module: &[u8], draw: &mut Draw) -> Result<Option<Vec<u8>>, Fault> {
    let known = Known::read(module)?;
    let defined = u32::try_from(known.functions.len()).unwrap_or(0);
    let first = known.imported + 1 + defined;
    let ours = Ours {
        write: known.imported,
        mix: first,
        show: first + 1,
        hash: u32::try_from(known.globals.len()).unwrap_or(0),
    };
    let Some(start) = start(&known, &ours, draw)? else { return Ok(None) };
    let mut sections = Sections::read(module, &known)?;
    sections.extend(&known, &ours, &start);
    Ok(Some(sections.finish()))
}

#[derive(Default)]
struct Sections {
    types: TypeSection,
    imports: ImportSection,
    functions: FunctionSection,
    tables: TableSection,
    globals: GlobalSection,
    start: Option<StartSection>,
    elements: ElementSection,
    data_count: Option<DataCountSection>,
    code: CodeSection,
    data: DataSection,
    memory: Option<MemoryType>,
}

impl Sections {
    fn read(module: &[u8], known: &Known) -> Result<Self, Fault> {
        let mut all = Self::default();
        let mut shift = Shift(known.imported);
        for payload in Parser::new(0).parse_all(module) {
            match payload? {
                Payload::TypeSection(s) => shift.parse_type_section(&mut all.types, s)?,
                Payload::ImportSection(s) => shift.parse_import_section(&mut all.imports, s)?,
                Payload::FunctionSection(s) => {
                    shift.parse_function_section(&mut all.functions, s)?;
                }
                Payload::TableSection(s) => shift.parse_table_section(&mut all.tables, s)?,
                Payload::GlobalSection(s) => shift.parse_global_section(&mut all.globals, s)?,
                Payload::StartSection { func, .. } => {
                    let function_index = shift.function_index(func)?;
                    all.start = Some(StartSection { function_index });
                }
                Payload::ElementSection(s) => shift.parse_element_section(&mut all.elements, s)?,
                Payload::DataCountSection { count, .. } => {
                    all.data_count = Some(DataCountSection { count });
                }
                Payload::CodeSectionEntry(body) => {
                    shift.parse_function_body(&mut all.code, body)?;
                }
                Payload::DataSection(s) => shift.parse_data_section(&mut all.data, s)?,
                _ => {}
            }
        }
        let memory = known.memory.map(|memory| shift.memory_type(memory)).transpose()?;
        all.memory = memory;
        Ok(all)
    }

    fn extend(&mut self, known: &Known, ours: &Ours, start: &Function) {
        let i32s = |count| vec![ValType::I32; count];
        let first = u32::try_from(known.types.len()).unwrap_or(0);
        self.types.ty().function(i32s(4), i32s(1));
        self.types.ty().function([ValType::I64], []);
        self.types.ty().function([], []);
        self.imports.import("wasi_snapshot_preview1", "fd_write", EntityType::Function(first));
        self.functions.function(first + 1).function(first + 2).function(first + 2);
        self.code.function(&mix(ours)).function(&show(known, ours)).function(start);
        self.globals.global(
            GlobalType { val_type: ValType::I64, mutable: true, shared: false },
            &ConstExpr::i64_const(1),
        );
    }

    fn finish(self) -> Vec<u8> {
        let mut memory = self.memory.unwrap_or(MemoryType {
            minimum: 1,
            maximum: None,
            memory64: false,
            shared: false,
            page_size_log2: None,
        });
        memory.minimum = memory.minimum.max(1);
        memory.maximum = memory.maximum.map(|most| most.max(memory.minimum));
        let mut exports = ExportSection::new();
        let last = self.imports.len() + self.functions.len() - 1;
        exports.export("memory", ExportKind::Memory, 0).export("_start", ExportKind::Func, last);
        let mut memories = MemorySection::new();
        memories.memory(memory);
        let mut module = Module::new();
        module.section(&self.types).section(&self.imports).section(&self.functions);
        module.section(&self.tables).section(&memories).section(&self.globals).section(&exports);
        if let Some(start) = &self.start {
            module.section(start);
        }
        module.section(&self.elements);
        if let Some(count) = &self.data_count {
            module.section(count);
        }
        module.section(&self.code).section(&self.data);
        module.finish()
    }
}

/// `_start`: calls some functions with drawn arguments; `None` if there is none that can be called.
fn start(known: &Known, ours: &Ours, draw: &mut Draw) -> Result<Option<Function>, Fault> {
    let callable = |at: &usize| {
        known.ty(*at).is_some_and(|ty| {
            ty.params()
                .iter()
                .chain(ty.results())
                .all(|ty| !ty.is_reference_type() || *ty == wasmparser::ValType::FUNCREF)
        })
    };
    let all: Vec<usize> = (0..known.functions.len()).filter(callable).collect();
    if all.is_empty() {
        return Ok(None);
    }
    let mut function = Function::new([]);
    let mut code = function.instructions();
    for _ in 0..draw.between(1, CALLS) {
        let at = draw.pick(&all);
        let Some(ty) = known.ty(at) else { continue };
        for parameter in ty.params() {
            constant(&mut code, *parameter, draw);
        }
        code.call(known.imported + 1 + u32::try_from(at).unwrap_or(0));
        for result in ty.results().iter().rev() {
            bits(&mut code, *result, ours);
        }
        code.call(ours.show);
    }
    code.end();
    Ok(Some(function))
}

fn constant(code: &mut InstructionSink<'_>, ty: wasmparser::ValType, draw: &mut Draw) {
    let bits = draw.bits().cast_signed();
    let small = draw.chance(1, 2);
    let long = if small { bits & 0xff } else { bits };
    let word = super::text::low(long.cast_unsigned()).cast_signed();
    match ty {
        wasmparser::ValType::I32 => code.i32_const(word),
        wasmparser::ValType::I64 => code.i64_const(long),
        wasmparser::ValType::F32 => code.i32_const(word).f32_reinterpret_i32(),
        wasmparser::ValType::F64 => code.i64_const(bits).f64_reinterpret_i64(),
        wasmparser::ValType::V128 => code.i64_const(bits).i64x2_splat(),
        wasmparser::ValType::Ref(_) => code.ref_null(wasm_encoder::HeapType::FUNC),
    };
}

/// Mixes the value on top of the stack into the digest.
fn bits(code: &mut InstructionSink<'_>, ty: wasmparser::ValType, ours: &Ours) {
    match ty {
        wasmparser::ValType::I32 => code.i64_extend_i32_u(),
        wasmparser::ValType::I64 => code,
        wasmparser::ValType::F32 => code.i32_reinterpret_f32().i64_extend_i32_u(),
        wasmparser::ValType::F64 => code.i64_reinterpret_f64(),
        wasmparser::ValType::V128 => code.i32x4_bitmask().i64_extend_i32_u(),
        wasmparser::ValType::Ref(_) => code.ref_is_null().i64_extend_i32_u(),
    };
    code.call(ours.mix);
}

fn step(code: &mut InstructionSink<'_>, hash: u32, value: impl FnOnce(&mut InstructionSink<'_>)) {
    code.global_get(hash);
    value(code);
    code.i64_xor().i64_const(1_099_511_628_211).i64_mul().i64_const(17).i64_rotl();
    code.i64_const(88_172_645_463_325_252).i64_add().global_set(hash);
}

fn mix(ours: &Ours) -> Function {
    let mut function = Function::new([]);
    let mut code = function.instructions();
    step(&mut code, ours.hash, |code| {
        code.local_get(0);
    });
    code.end();
    function
}

/// Writes a digest of globals and memory, through memory that is restored.
fn show(known: &Known, ours: &Ours) -> Function {
    const AT: u32 = 0;
    const SAVED: [u32; 3] = [1, 2, 3];
    let at = |offset| MemArg { offset, align: 0, memory_index: 0 };
    let mut function = Function::new([(1, ValType::I32), (3, ValType::I64)]);
    let mut code = function.instructions();
    for (index, global) in (0..).zip(&known.globals) {
        if !global.content_type.is_reference_type() {
            code.global_get(index);
            bits(&mut code, global.content_type, ours);
        }
    }
    code.loop_(BlockType::Empty);
    step(&mut code, ours.hash, |code| {
        code.local_get(AT).i64_load(at(0));
    });
    code.local_get(AT).i32_const(8).i32_add().local_tee(AT);
    code.memory_size(0).i32_const(16).i32_shl().i32_lt_u().br_if(0).end();
    for (place, saved) in [0, 8, 16].into_iter().zip(SAVED) {
        code.i32_const(0).i64_load(at(place)).local_set(saved);
    }
    code.i32_const(0).i32_const(8).i32_store(at(0)).i32_const(0).i32_const(8).i32_store(at(4));
    code.i32_const(0).global_get(ours.hash).i64_store(at(8));
    code.i32_const(1).i32_const(0).i32_const(1).i32_const(16).call(ours.write).drop();
    for (place, saved) in [0, 8, 16].into_iter().zip(SAVED) {
        code.i32_const(0).local_get(saved).i64_store(at(place));
    }
    code.end();
    function
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_draws_make_modules_that_the_meter_takes() {
        let made = (0..60).filter_map(|seed| module(&mut Draw::new(seed)));
        let taken = made.filter(|module| tallymill_sandbox::screen(module).is_ok()).count();
        assert!(taken > 30, "{taken} of 60");
    }
}
