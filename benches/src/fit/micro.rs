//! Guests that do one thing all the time: the cheapest way to use up a machine for each operator.
//!
//! A chain makes every operator wait for the one before it, which shows what the operator costs a
//! guest that means harm; a wide one lets the machine do several at once.

use tallymill_sandbox::wasi::MODULE;
use wasm_encoder::{
    CodeSection, ConstExpr, DataSection, ElementSection, Elements, EntityType, ExportKind,
    ExportSection, Function, FunctionSection, GlobalSection, GlobalType, ImportSection,
    Instruction as I, MemArg, MemorySection, MemoryType, Module, RefType, TableSection, TableType,
    TypeSection, ValType,
};

/// Copies of the body in one turn of the loop.
const COPIES: u32 = 16;
/// Local that counts down the turns.
const TURNS: u32 = 0;
/// First of many locals of the micro-kernel's own type.
pub(super) const X: u32 = 1;
/// Local of the same type that stays as it is: the first behind those.
pub(super) const Y: u32 = 33;
/// Local of type i32 that starts at zero, which the compiler does not know.
pub(super) const AT: u32 = 34;
/// Function that returns its parameter.
pub(super) const IDENTITY: u32 = 1;
/// Pages of memory, all of which the guest has from the start.
pub(super) const PAGES: u64 = 2048;
/// Elements of the table.
const ENTRIES: u64 = 4096;
/// Where the first values of the locals are: in memory, so that the compiler cannot compute with them.
const SEEDS: u32 = 2047 << 16;
/// Bytes of a first value.
const SEED: u32 = 16;

/// A guest that does one thing.
pub(super) struct Micro {
    /// What it does.
    pub(super) name: String,
    /// Type of its locals.
    pub(super) ty: ValType,
    /// Runs once.
    pub(super) before: Vec<I<'static>>,
    /// Runs over and over.
    pub(super) body: Vec<I<'static>>,
    /// The host function it imports, which is function 0 then, and its parameters.
    pub(super) host: Option<(&'static str, Vec<ValType>)>,
    /// Times that the body stands in the loop.
    pub(super) copies: u32,
    /// Whether what takes its time is waiting for results, while most of the machine rests.
    pub(super) waits: bool,
    /// Turns of the loop, where they cannot be chosen.
    pub(super) turns: Option<i32>,
    /// Why its cost is known to be beyond its price, if it is: it is measured but not held to it.
    pub(super) excused: Option<&'static str>,
}

impl Micro {
    pub(super) fn new(name: impl Into<String>, ty: ValType, body: Vec<I<'static>>) -> Self {
        let (name, before, copies) = (name.into(), Vec::new(), COPIES);
        Self {
            name,
            ty,
            before,
            body,
            host: None,
            copies,
            waits: false,
            turns: None,
            excused: None,
        }
    }

    pub(super) fn before(mut self, before: Vec<I<'static>>) -> Self {
        self.before = before;
        self
    }

    pub(super) fn once(mut self) -> Self {
        self.copies = 1;
        self
    }

    pub(super) fn calling(mut self, name: &'static str, parameters: Vec<ValType>) -> Self {
        self.host = Some((name, parameters));
        self
    }

    pub(super) fn waiting(mut self) -> Self {
        self.waits = true;
        self
    }

    /// Runs its body this often, and no more.
    pub(super) fn turns(mut self, turns: i32) -> Self {
        (self.copies, self.turns) = (1, Some(turns));
        self
    }

    pub(super) fn excused(mut self, why: &'static str) -> Self {
        self.excused = Some(why);
        self
    }

    /// The guest, with this many turns of its loop.
    pub(super) fn module(&self, turns: i32) -> Vec<u8> {
        let mut types = TypeSection::new();
        types.ty().function([], []);
        types.ty().function([ValType::I32], [ValType::I32]);
        let mut imports = ImportSection::new();
        if let Some((name, parameters)) = &self.host {
            types.ty().function(parameters.iter().copied(), [ValType::I32]);
            imports.import(MODULE, name, EntityType::Function(2));
        }
        let first = imports.len();
        let mut functions = FunctionSection::new();
        functions.function(0).function(1);
        let mut exports = ExportSection::new();
        exports.export("_start", ExportKind::Func, first);
        exports.export("memory", ExportKind::Memory, 0);
        let mut code = CodeSection::new();
        code.function(&self.start(turns)).function(&identity());
        let mut module = Module::new();
        module.section(&types).section(&imports).section(&functions).section(&tables());
        module
            .section(&memories())
            .section(&globals())
            .section(&exports)
            .section(&elements(first + IDENTITY));
        let seeds = i32::try_from(SEEDS).unwrap_or(i32::MAX);
        let mut data = DataSection::new();
        data.active(0, &ConstExpr::i32_const(seeds), self.seeds());
        module.section(&code).section(&data);
        module.finish()
    }

    /// The first values of all locals, one behind the other.
    fn seeds(&self) -> Vec<u8> {
        let padded = |local| {
            let mut bytes = seed(self.ty, local);
            bytes.resize(SEED as usize, 0);
            bytes
        };
        (X..=AT).flat_map(padded).collect()
    }

    /// Sets a local to its first value; references stay null.
    fn load_seed(&self, local: u32) -> Vec<I<'static>> {
        let place = |align| MemArg {
            offset: u64::from(SEEDS + (local - X) * SEED),
            align,
            memory_index: 0,
        };
        let load = match if local == AT { ValType::I32 } else { self.ty } {
            ValType::I32 => I::I32Load(place(2)),
            ValType::I64 => I::I64Load(place(3)),
            ValType::F32 => I::F32Load(place(2)),
            ValType::F64 => I::F64Load(place(3)),
            ValType::V128 => I::V128Load(place(4)),
            ValType::Ref(_) => return Vec::new(),
        };
        vec![I::I32Const(0), load, I::LocalSet(local)]
    }

    fn start(&self, turns: i32) -> Function {
        let locals = [(1, ValType::I32), (Y, self.ty), (1, ValType::I32)];
        let mut function = Function::new(locals);
        let repeat = (0..self.copies).flat_map(|_| &self.body);
        let head = [I::I32Const(turns), I::LocalSet(TURNS)];
        let tail = [
            I::LocalGet(TURNS),
            I::I32Const(1),
            I::I32Sub,
            I::LocalTee(TURNS),
            I::BrIf(0),
            I::End,
            I::End,
        ];
        let starts = (X..=AT).flat_map(|local| self.load_seed(local));
        let empty = I::Loop(wasm_encoder::BlockType::Empty);
        starts.for_each(|instruction| _ = function.instruction(&instruction));
        for instruction in
            head.iter().chain(&self.before).chain([&empty]).chain(repeat).chain(&tail)
        {
            function.instruction(instruction);
        }
        function
    }
}

/// A first value that keeps arithmetic away from zero, infinity and numbers too small to be normal.
fn seed(ty: ValType, local: u32) -> Vec<u8> {
    let factor = local == Y;
    match ty {
        _ if local == AT => vec![0; 4],
        ValType::F32 => (if factor { 1.000_000_1_f32 } else { 1.5 }).to_le_bytes().to_vec(),
        ValType::F64 => (if factor { 1.000_000_1_f64 } else { 1.5 }).to_le_bytes().to_vec(),
        ValType::V128 => lanes(local).to_vec(),
        _ => ((0x2545_f491_4f6c_dd1d_i64 >> (local % 8)) | 1).to_le_bytes().to_vec(),
    }
}

/// Lanes that are sensible as f32 and as f64 alike: every four bytes are an f32 between 1 and 2.
fn lanes(local: u32) -> [u8; 16] {
    let lane = (1.0 + f64::from(local) / 1e4).to_bits().to_le_bytes();
    let mut lanes = [0; 16];
    for half in lanes.chunks_exact_mut(8) {
        half.copy_from_slice(&lane);
        half[..4].copy_from_slice(&1.001_f32.to_bits().to_le_bytes());
    }
    lanes
}

fn identity() -> Function {
    let mut function = Function::new([]);
    function.instruction(&I::LocalGet(0)).instruction(&I::End);
    function
}

fn tables() -> TableSection {
    let mut tables = TableSection::new();
    tables.table(TableType {
        element_type: RefType::FUNCREF,
        table64: false,
        minimum: ENTRIES,
        maximum: None,
        shared: false,
    });
    tables
}

fn globals() -> GlobalSection {
    let mut globals = GlobalSection::new();
    let ty = GlobalType { val_type: ValType::I64, mutable: true, shared: false };
    globals.global(ty, &ConstExpr::i64_const(0));
    globals
}

fn memories() -> MemorySection {
    let mut memories = MemorySection::new();
    memories.memory(MemoryType {
        minimum: PAGES,
        maximum: None,
        memory64: false,
        shared: false,
        page_size_log2: None,
    });
    memories
}

fn elements(identity: u32) -> ElementSection {
    let mut elements = ElementSection::new();
    let functions = vec![identity; 256];
    elements.active(None, &ConstExpr::i32_const(0), Elements::Functions(functions.into()));
    elements
}
