//! Modules that compilers choke on.

use wasm_encoder::{
    BlockType, CodeSection, ConstExpr, CustomSection, DataSection, ExportKind, ExportSection,
    Function, FunctionSection, GlobalSection, GlobalType, InstructionSink, MemorySection,
    MemoryType, Module, TypeSection, ValType,
};

use super::{Contained, Guest, refused};

pub(crate) fn guests() -> Vec<Guest> {
    let killed = (Contained::NotCompiled, "compile child: 10 s of processor time");
    let harmless = |by| (Contained::FoundNothing, by);
    vec![
        Guest::new(
            "bomb-of-loops",
            "400 nested loops and 500 locals",
            refused(12, "loops times locals"),
            || one(&[(500, ValType::I32)], |code| loops(code, 400, 500)),
        ),
        Guest::new("bomb-of-functions", "50,000 functions", refused(12, "functions"), || {
            module(50_000, &[], |_| {})
        }),
        Guest::new(
            "bomb-of-targets",
            "a br_table of 60,000 targets",
            refused(12, "targets of a br_table"),
            || {
                one(&[], |code| {
                    code.i32_const(0).br_table(vec![0; 60_000], 0);
                })
            },
        ),
        Guest::new("bomb-of-blocks", "80,000 nested blocks", refused(12, "nested blocks"), || {
            one(&[], |code| {
                for _ in 0..80_000 {
                    code.block(BlockType::Empty);
                }
                for _ in 0..80_000 {
                    code.end();
                }
            })
        }),
        Guest::new(
            "bomb-of-one-body",
            "one function of 1.6 MB",
            refused(12, "bytes of a function body"),
            || one(&[(2, ValType::I32)], |code| mix(code, 2, 160_000)),
        ),
        Guest::new(
            "bomb-of-locals",
            "400 functions of 50,000 locals",
            refused(12, "parameters and locals"),
            || module(400, &[(50_000, ValType::V128)], |_| {}),
        ),
        Guest::new("bomb-of-bytes", "9 MiB of nothing", refused(12, "bytes of the module"), || {
            let mut module = benign();
            module.extend(std::iter::repeat_n(0, 9 << 20));
            module
        }),
        Guest::new("bomb-of-types", "a million types", refused(1, "invalid module"), types),
        Guest::new(
            "bomb-within-limits",
            "300 functions, each as many loops times locals as allowed",
            killed,
            || module(300, &[(99, ValType::I32)], |code| loops(code, 199, 99)),
        ),
        Guest::new(
            "junk-in-custom-sections",
            "7 MiB of custom sections",
            harmless("custom sections are dropped"),
            || {
                let mut module = Module::new();
                let data = vec![0xff; 7 << 10];
                finish(&mut module, 1, &[], |_| {});
                for _ in 0..1_000 {
                    module.section(&CustomSection {
                        name: "junk".into(),
                        data: data.as_slice().into(),
                    });
                }
                module.finish()
            },
        ),
        Guest::new(
            "segments-many",
            "100,000 data segments over each other",
            harmless("laid out once, when it is compiled"),
            segments,
        ),
        Guest::new("globals-many", "500,000 mutable globals", refused(12, "globals"), globals),
    ]
}

fn benign() -> Vec<u8> {
    module(1, &[], |_| {})
}

fn one(locals: &[(u32, ValType)], body: impl Fn(&mut InstructionSink<'_>)) -> Vec<u8> {
    module(1, locals, body)
}

/// A module of `count` functions that are all alike; the first is `_start`.
fn module(
    count: u32,
    locals: &[(u32, ValType)],
    body: impl Fn(&mut InstructionSink<'_>),
) -> Vec<u8> {
    let mut module = Module::new();
    finish(&mut module, count, locals, body);
    module.finish()
}

/// Adds what [`module`] has to sections that are there.
fn finish(
    module: &mut Module,
    count: u32,
    locals: &[(u32, ValType)],
    body: impl Fn(&mut InstructionSink<'_>),
) {
    let (mut types, mut functions) = (TypeSection::new(), FunctionSection::new());
    types.ty().function([], []);
    for _ in 0..count {
        functions.function(0);
    }
    let mut exports = ExportSection::new();
    exports.export("_start", ExportKind::Func, 0);
    let mut code = CodeSection::new();
    for _ in 0..count {
        code.function(&function(locals, &body));
    }
    module.section(&types).section(&functions).section(&exports).section(&code);
}

fn function(locals: &[(u32, ValType)], body: impl Fn(&mut InstructionSink<'_>)) -> Function {
    let mut function = Function::new(locals.iter().copied());
    body(&mut function.instructions());
    function.instructions().end();
    function
}

/// `count` loops within each other; each changes some of the locals, so that all of them live around all loops.
fn loops(code: &mut InstructionSink<'_>, count: u32, locals: u32) {
    for at in 0..count {
        code.loop_(BlockType::Empty);
        for other in 0..4 {
            let (to, from) = ((at + other * 7) % locals, (at * 3 + other) % locals);
            code.local_get(to).local_get(from).i32_add().local_set(to);
        }
    }
    for at in 0..count {
        code.local_get(at % locals).br_if(0).end();
    }
}

/// `count` additions of locals.
fn mix(code: &mut InstructionSink<'_>, locals: u32, count: u32) {
    for at in 0..count {
        code.local_get(at % locals).local_get((at + 1) % locals).i32_add().local_set(at % locals);
    }
}

fn types() -> Vec<u8> {
    let mut types = TypeSection::new();
    for _ in 0..1_000_001 {
        types.ty().function([], []);
    }
    let mut module = Module::new();
    module.section(&types);
    module.finish()
}

fn segments() -> Vec<u8> {
    let (mut types, mut functions) = (TypeSection::new(), FunctionSection::new());
    types.ty().function([], []);
    functions.function(0);
    let mut memory = MemorySection::new();
    memory.memory(MemoryType {
        minimum: 2,
        maximum: None,
        memory64: false,
        shared: false,
        page_size_log2: None,
    });
    let mut exports = ExportSection::new();
    exports.export("_start", ExportKind::Func, 0);
    let mut code = CodeSection::new();
    code.function(&function(&[], |_| {}));
    let mut data = DataSection::new();
    for at in 0..100_000 {
        data.active(0, &ConstExpr::i32_const(at), b"abcdefgh".iter().copied());
    }
    let mut module = Module::new();
    module.section(&types).section(&functions).section(&memory).section(&exports);
    module.section(&code).section(&data);
    module.finish()
}

fn globals() -> Vec<u8> {
    let (mut types, mut functions) = (TypeSection::new(), FunctionSection::new());
    types.ty().function([], []);
    functions.function(0);
    let mut globals = GlobalSection::new();
    let ty = GlobalType { val_type: ValType::I64, mutable: true, shared: false };
    for _ in 0..500_000 {
        globals.global(ty, &ConstExpr::i64_const(-1));
    }
    let mut exports = ExportSection::new();
    exports.export("_start", ExportKind::Func, 0);
    let mut code = CodeSection::new();
    code.function(&function(&[], |_| {}));
    let mut module = Module::new();
    module.section(&types).section(&functions).section(&globals).section(&exports).section(&code);
    module.finish()
}
