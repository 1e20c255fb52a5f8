//! The micro-kernels: every kind of operator, by chains and side by side.

use wasm_encoder::{BlockType, Instruction as I, MemArg, ValType};

use super::micro::{AT, IDENTITY, Micro, X, Y};

const I32: ValType = ValType::I32;
const I64: ValType = ValType::I64;
const F32: ValType = ValType::F32;
const F64: ValType = ValType::F64;
const V128: ValType = ValType::V128;

/// An access at the address on the stack.
const fn at(align: u32) -> MemArg {
    MemArg { offset: 0, align, memory_index: 0 }
}

/// All of them.
pub(super) fn all() -> Vec<Micro> {
    let mut all = Vec::new();
    all.extend(integers());
    all.extend(floats());
    all.extend(conversions());
    all.extend(vectors());
    all.extend(moves());
    all.extend(memory());
    all.extend(jumps());
    all.extend(bulk());
    all.extend(hosts());
    all
}

/// Addition of values of this type: it keeps the compiler from seeing that a chain repeats itself.
fn add(ty: ValType) -> I<'static> {
    match ty {
        ValType::I32 => I::I32Add,
        ValType::I64 => I::I64Add,
        ValType::F32 => I::F32Add,
        ValType::F64 => I::F64Add,
        ValType::V128 => I::I32x4Add,
        ValType::Ref(_) => I::Nop,
    }
}

/// A guest that does `one` to a single value over and over, each time waiting for the last, and one
/// that does it to eight values side by side.
fn both(name: &str, ty: ValType, one: impl Fn(u32) -> Vec<I<'static>>) -> [Micro; 2] {
    let side_by_side = (X..X + 8).flat_map(&one).collect();
    [
        Micro::new(format!("{name} chain"), ty, one(X)).waiting(),
        Micro::new(format!("{name} wide"), ty, side_by_side),
    ]
}

/// `x = op(x + y)`.
fn unary(ty: ValType, op: &I<'static>) -> [Micro; 2] {
    let one = |x| vec![I::LocalGet(x), I::LocalGet(Y), add(ty), op.clone(), I::LocalSet(x)];
    both(&format!("{op:?}"), ty, one)
}

/// `x = op(y, x)`.
fn binary(ty: ValType, op: &I<'static>) -> [Micro; 2] {
    let one = |x| vec![I::LocalGet(Y), I::LocalGet(x), op.clone(), I::LocalSet(x)];
    both(&format!("{op:?}"), ty, one)
}

/// `x = op(x, y) | constant`: for operators whose own results would end a chain.
fn kept(ty: ValType, op: &I<'static>, or: &[I<'static>; 2]) -> [Micro; 2] {
    let values = |x| [I::LocalGet(x), I::LocalGet(Y), op.clone()];
    let one = |x| [&values(x)[..], or, &[I::LocalSet(x)]].concat();
    both(&format!("{op:?}"), ty, one)
}

/// `x = y if op(x, y) else x + y`: what decides is not kept.
fn chosen(ty: ValType, op: &I<'static>) -> [Micro; 2] {
    let values = |x| [I::LocalGet(Y), I::LocalGet(x), I::LocalGet(Y), add(ty)];
    let asked = |x| [I::LocalGet(x), I::LocalGet(Y), op.clone(), I::Select, I::LocalSet(x)];
    both(&format!("{op:?} Select"), ty, |x| [&values(x)[..], &asked(x)].concat())
}

/// `x = back(there(x + y))`.
fn there_and_back(ty: ValType, there: &I<'static>, back: &I<'static>) -> [Micro; 2] {
    let sum = |x| [I::LocalGet(x), I::LocalGet(Y), add(ty)];
    let one = |x| [&sum(x)[..], &[there.clone(), back.clone(), I::LocalSet(x)]].concat();
    both(&format!("{there:?} {back:?}"), ty, one)
}

fn integers() -> Vec<Micro> {
    let short = [I::I32Add, I::I32Shl, I::I32Rotl, I::I32Mul, I::I32LtS, I::I32Eq];
    let long = [I::I64Add, I::I64ShrU, I::I64Rotr, I::I64Mul];
    let mut all: Vec<Micro> = short.iter().flat_map(|op| binary(I32, op)).collect();
    all.extend(long.iter().flat_map(|op| binary(I64, op)));
    all.extend([I::I32LtS, I::I32Eq].iter().flat_map(|op| chosen(I32, op)));
    all.extend([I::I64GeU, I::I64Ne].iter().flat_map(|op| chosen(I64, op)));
    let short = [I::I32Clz, I::I32Ctz, I::I32Popcnt, I::I32Eqz];
    all.extend(short.iter().flat_map(|op| unary(I32, op)));
    all.extend([I::I64Clz, I::I64Popcnt, I::I64Extend8S].iter().flat_map(|op| unary(I64, op)));
    let long = [I::I64DivS, I::I64DivU, I::I64RemS, I::I64RemU];
    all.extend(long.iter().flat_map(|op| kept(I64, op, &[I::I64Const(LONG), I::I64Or])));
    let short = [I::I32DivS, I::I32DivU, I::I32RemS, I::I32RemU];
    all.extend(short.iter().flat_map(|op| kept(I32, op, &[I::I32Const(0x6fff_ffff), I::I32Or])));
    all
}

/// Keeps dividends long.
const LONG: i64 = 0x6fff_ffff_ffff_ffff;

fn floats() -> Vec<Micro> {
    let doubles =
        [I::F64Add, I::F64Sub, I::F64Mul, I::F64Div, I::F64Min, I::F64Max, I::F64Copysign];
    let singles = [I::F32Add, I::F32Mul, I::F32Div, I::F32Min, I::F32Copysign];
    let mut all: Vec<Micro> = doubles.iter().flat_map(|op| binary(F64, op)).collect();
    all.extend(singles.iter().flat_map(|op| binary(F32, op)));
    let doubles = [I::F64Sqrt, I::F64Abs, I::F64Neg, I::F64Floor, I::F64Nearest];
    all.extend(doubles.iter().flat_map(|op| unary(F64, op)));
    all.extend([I::F32Sqrt, I::F32Ceil].iter().flat_map(|op| unary(F32, op)));
    for op in [I::F64Lt, I::F64Eq] {
        let values = |x| [I::LocalGet(x), I::LocalGet(Y), I::LocalGet(x), I::LocalGet(Y)];
        let one = |x| [&values(x)[..], &[op.clone(), I::Select, I::LocalSet(x)]].concat();
        all.extend(both(&format!("{op:?} Select"), F64, one));
    }
    all.push(tiny());
    all
}

/// Products too small to be normal, which some processors compute by microcode.
fn tiny() -> Micro {
    let small = |local, value: f64| [I::F64Const(value.into()), I::LocalSet(local)];
    let before = [small(X, 1e-300), small(Y, 1e-20)].concat();
    let product = [I::LocalGet(X), I::LocalGet(X), I::LocalGet(Y), I::F64Mul];
    let body = [product.to_vec(), vec![I::F64Add, I::LocalSet(X)]].concat();
    Micro::new("F64Mul with a subnormal result", F64, body)
        .waiting()
        .before(before)
        .excused("some processors take a hundred cycles for subnormal numbers")
}

fn conversions() -> Vec<Micro> {
    let doubles = [
        (I::I32TruncF64S, I::F64ConvertI32S),
        (I::I64TruncF64U, I::F64ConvertI64U),
        (I::I32TruncSatF64U, I::F64ConvertI32U),
        (I::I64TruncSatF64S, I::F64ConvertI64S),
        (I::F32DemoteF64, I::F64PromoteF32),
    ];
    let singles = [(I::I32TruncF32U, I::F32ConvertI32U), (I::I64TruncSatF32U, I::F32ConvertI64U)];
    let mut all: Vec<Micro> =
        doubles.iter().flat_map(|(there, back)| there_and_back(F64, there, back)).collect();
    all.extend(singles.iter().flat_map(|(there, back)| there_and_back(F32, there, back)));
    all.extend(there_and_back(I64, &I::I32WrapI64, &I::I64ExtendI32S));
    all.extend(there_and_back(F64, &I::I64ReinterpretF64, &I::F64ReinterpretI64));
    all
}

fn vectors() -> Vec<Micro> {
    let binaries = [
        I::I8x16Add,
        I::I8x16AddSatU,
        I::I16x8Mul,
        I::I32x4Mul,
        I::I64x2Mul,
        I::I16x8Q15MulrSatS,
        I::I32x4DotI16x8S,
        I::I16x8ExtMulLowI8x16U,
        I::I8x16MinU,
        I::I8x16AvgrU,
        I::I8x16Swizzle,
        I::I8x16NarrowI16x8S,
        I::I64x2GtS,
        I::V128AndNot,
        I::F32x4Add,
        I::F32x4Mul,
        I::F32x4Div,
        I::F32x4Min,
        I::F32x4PMin,
        I::F64x2Add,
        I::F64x2Mul,
        I::F64x2Div,
        I::F64x2Max,
    ];
    let unaries = [
        I::I8x16Popcnt,
        I::I8x16Abs,
        I::I64x2Neg,
        I::I16x8ExtAddPairwiseI8x16U,
        I::I32x4ExtendHighI16x8S,
        I::F32x4Sqrt,
        I::F64x2Sqrt,
        I::F64x2Nearest,
        I::F32x4Abs,
        I::I32x4TruncSatF32x4S,
        I::I32x4TruncSatF32x4U,
        I::I32x4TruncSatF64x2UZero,
        I::F32x4ConvertI32x4U,
        I::F64x2ConvertLowI32x4U,
    ];
    let mut all: Vec<Micro> = binaries.iter().flat_map(|op| binary(V128, op)).collect();
    all.extend(unaries.iter().flat_map(|op| unary(V128, op)));
    all.extend(lanes());
    all
}

fn lanes() -> Vec<Micro> {
    let mut all = Vec::new();
    for op in [I::I8x16Shl, I::I8x16ShrS, I::I16x8Shl, I::I64x2ShrS] {
        let one = |x| vec![I::LocalGet(x), I::LocalGet(AT), op.clone(), I::LocalSet(x)];
        all.extend(both(&format!("{op:?}"), V128, one));
    }
    let shuffle = [0, 17, 2, 19, 4, 21, 6, 23, 8, 25, 10, 27, 12, 29, 14, 31];
    all.extend(binary(V128, &I::I8x16Shuffle(shuffle)));
    for (there, back) in [
        (I::I32x4ExtractLane(1), I::I32x4Splat),
        (I::F64x2ExtractLane(1), I::F64x2Splat),
        (I::I8x16Bitmask, I::I8x16Splat),
        (I::I32x4AllTrue, I::I32x4Splat),
        (I::V128AnyTrue, I::I16x8Splat),
    ] {
        all.extend(there_and_back(V128, &there, &back));
    }
    let select = |x| vec![I::LocalGet(x), I::LocalGet(Y), I::LocalGet(x), I::V128Bitselect];
    all.extend(both("V128Bitselect", V128, |x| [select(x), vec![I::LocalSet(x)]].concat()));
    all
}

/// Constants, locals, globals in all but name: what generates few instructions.
fn moves() -> Vec<Micro> {
    let rotate = |x| [I::LocalGet(x), I::LocalSet(if x + 1 < Y { x + 1 } else { X })];
    // More values than a machine has registers: most of them have to be fetched and put away.
    let crowd = |x| [I::LocalGet(x), I::LocalGet(x + 1), I::F64Add, I::LocalSet(x)];
    let add_constant = vec![I::LocalGet(X), I::I64Const(0x1234_5678_9abc), I::I64Add];
    let float = vec![I::LocalGet(X), I::F64Const(1.25.into()), I::F64Add, I::LocalSet(X)];
    let vector = vec![I::LocalGet(X), I::V128Const(1 << 100 | 7), I::F64x2Add, I::LocalSet(X)];
    let counted = vec![I::GlobalGet(0), I::LocalGet(Y), I::I64Add, I::GlobalSet(0)];
    let size = vec![I::LocalGet(X), I::MemorySize(0), I::I32Add, I::LocalSet(X)];
    vec![
        Micro::new("LocalGet LocalSet", I64, (X..Y).flat_map(rotate).collect()),
        Micro::new("many locals", F64, (X..Y).flat_map(crowd).collect()).once(),
        Micro::new("I64Const I64Add", I64, [add_constant, vec![I::LocalSet(X)]].concat()).waiting(),
        Micro::new("F64Const F64Add", F64, float).waiting(),
        Micro::new("V128Const F64x2Add", V128, vector).waiting(),
        Micro::new("GlobalGet GlobalSet", I64, counted),
        Micro::new("MemorySize", I32, size),
        Micro::new("TableGet", I32, vec![I::LocalGet(AT), I::TableGet(0), I::Drop]),
        Micro::new(
            "TableGet TableSet",
            I32,
            vec![I::LocalGet(AT), I::LocalGet(AT), I::TableGet(0), I::TableSet(0)],
        ),
    ]
}

fn memory() -> Vec<Micro> {
    let chain = |name: &str, load| {
        Micro::new(name, I32, vec![I::LocalGet(X), load, I::LocalSet(X)]).waiting()
    };
    let zero = vec![I::I32Const(0), I::LocalSet(X)];
    // Another place each time, or the compiler would see that it knows the value.
    let mut step = vec![I::LocalGet(AT), I::I32Const(72), I::I32Add];
    step.extend([I::I32Const(4095), I::I32And, I::LocalSet(AT)]);
    let with_step = |body: &[I<'static>]| [step.clone(), body.to_vec()].concat();
    let store = |offset: u64| {
        let place = MemArg { offset, align: 3, memory_index: 0 };
        [I::LocalGet(AT), I::LocalGet(X), I::I64Store(place)]
    };
    let load = |at: u32| {
        let place = MemArg { offset: u64::from(at) * 8, align: 3, memory_index: 0 };
        let x = X + at;
        [I::LocalGet(AT), I::I64Load(place), I::LocalGet(x), I::I64Add, I::LocalSet(x)]
    };
    let loads: Vec<_> = (0..8).flat_map(load).collect();
    let stores: Vec<_> = (0..8).flat_map(|n| store(n * 8)).collect();
    let vector = |at: u32| {
        let place = MemArg { offset: u64::from(at) * 16, align: 4, memory_index: 0 };
        let sum = [I::LocalGet(AT), I::V128Load(place), I::LocalGet(X + at), I::I32x4Add];
        [&[I::LocalGet(AT)], &sum[..], &[I::V128Store(place)]].concat()
    };
    let vectors: Vec<_> = (0..4).flat_map(vector).collect();
    // The address of each load is the value that the store before it wrote there: always 0.
    let through = [I::LocalGet(X), I::LocalGet(X), I::I32Store(at(2)), I::LocalGet(X)];
    let through = [through.as_slice(), &[I::I32Load8U(at(0)), I::LocalSet(X)]].concat();
    let mut all = vec![
        chain("I32Load chain", I::I32Load(at(2))).before(zero.clone()),
        chain("I32Load8U chain", I::I32Load8U(at(0))).before(zero.clone()),
        Micro::new("I64Load wide", I64, with_step(&loads)),
        Micro::new("I64Store wide", I64, with_step(&stores)),
        Micro::new("I32Store I32Load8U chain", I32, through).waiting().before(zero),
        Micro::new("V128Load V128Store", V128, with_step(&vectors)),
    ];
    all.extend(chases());
    all.extend(touches());
    all
}

/// Loads that each need the last one's value, spread over a memory of this size.
fn chases() -> Vec<Micro> {
    let far = "the price of a load does not depend on where its bytes are; see the table's page";
    vec![
        chase("I32Load chain over 32 KiB", 15),
        chase("I32Load chain over 1 MiB", 20).turns(400_000).excused(far),
        chase("I32Load chain over 64 MiB", 26).turns(4_000_000).excused(far),
        strided_stores(26).turns(20_000_000).excused(far),
    ]
}

/// Sets up a cycle through all lines of 64 bytes below `1 << bits`, and follows it.
fn chase(name: &str, bits: u32) -> Micro {
    let mask = (1 << bits) - 64;
    let next = [
        I::LocalGet(AT),
        I::LocalGet(AT),
        I::I32Const(1_664_525),
        I::I32Mul,
        I::I32Const(1_013_904_192),
        I::I32Add,
        I::I32Const(mask),
        I::I32And,
        I::I32Store(at(2)),
    ];
    let mut before = vec![I::I32Const(0), I::LocalSet(X), I::Loop(BlockType::Empty)];
    before.extend(next);
    before.extend([I::LocalGet(AT), I::I32Const(64), I::I32Add, I::LocalTee(AT)]);
    before.extend([I::I32Const(1 << bits), I::I32LtU, I::BrIf(0), I::End]);
    Micro::new(name, I32, vec![I::LocalGet(X), I::I32Load(at(2)), I::LocalSet(X)])
        .waiting()
        .before(before)
}

/// One store into each line of memory after the other.
fn strided_stores(bits: u32) -> Micro {
    let body = vec![
        I::LocalGet(X),
        I::I32Const(4160),
        I::I32Add,
        I::I32Const((1 << bits) - 64),
        I::I32And,
        I::LocalTee(X),
        I::LocalGet(Y),
        I::I32Store(at(2)),
    ];
    Micro::new("I32Store over 64 MiB", I32, body)
}

/// The first use of memory, page of the system after page.
fn touches() -> Vec<Micro> {
    let touch = |address: I<'static>, step: i32| {
        [address, I::I32Const(step), I::I32Add, I::LocalTee(AT), I::I32Const(1), I::I32Store(at(2))]
    };
    let mut grow = vec![I::I32Const(1), I::MemoryGrow(0), I::I32Const(16), I::I32Shl];
    grow.push(I::LocalSet(AT));
    grow.extend((0..16).flat_map(|_| touch(I::LocalGet(AT), 4092)));
    let initial = touch(I::LocalGet(AT), 4096).to_vec();
    vec![
        Micro::new("first store into each 4 KiB", I32, initial)
            .turns(16_384)
            .excused("the memory a guest starts with is free; its size is limited"),
        Micro::new("MemoryGrow by one and use", I32, grow).turns(1024),
    ]
}

/// A step of a generator of random bits in local `X`, an i32.
fn random() -> Vec<I<'static>> {
    let step = |shift: i32, op: I<'static>| {
        [I::LocalGet(X), I::LocalGet(X), I::I32Const(shift), op, I::I32Xor, I::LocalSet(X)]
    };
    [step(13, I::I32Shl), step(17, I::I32ShrU), step(5, I::I32Shl)].concat()
}

fn jumps() -> Vec<Micro> {
    let mut guess = random();
    guess.extend([I::Block(BlockType::Empty), I::LocalGet(X), I::I32Const(1), I::I32And]);
    guess.extend([I::BrIf(0), I::LocalGet(Y), I::I32Const(3), I::I32Add, I::LocalSet(Y), I::End]);
    let mut table = random();
    table.extend((0..5).map(|_| I::Block(BlockType::Empty)));
    table.extend([I::LocalGet(X), I::I32Const(3), I::I32And]);
    table.push(I::BrTable([0, 1, 2, 3].as_slice().into(), 4));
    for place in 1..=4 {
        let add = [I::LocalGet(Y), I::I32Const(place), I::I32Mul, I::LocalSet(Y)];
        table.push(I::End);
        table.extend(add);
    }
    table.push(I::End);
    let known = [I::Block(BlockType::Empty), I::LocalGet(Y), I::BrIf(0), I::End];
    let compared =
        [I::Block(BlockType::Empty), I::LocalGet(Y), I::LocalGet(X), I::I32Ne, I::BrIf(0), I::End];
    let always = [
        I::Block(BlockType::Empty),
        I::Block(BlockType::Empty),
        I::LocalGet(AT),
        I::BrTable([0, 1].as_slice().into(), 1),
        I::End,
        I::End,
    ];
    let call = vec![I::LocalGet(X), I::Call(IDENTITY), I::LocalSet(X)];
    let indirect = I::CallIndirect { type_index: 1, table_index: 0 };
    let through = vec![I::LocalGet(X), I::LocalGet(AT), indirect, I::LocalSet(X)];
    vec![
        Micro::new("random bits", I32, random()).waiting(),
        Micro::new("BrIf at random", I32, guess).waiting(),
        Micro::new("BrTable at random", I32, table).waiting(),
        Micro::new("BrIf always", I32, known.to_vec()),
        Micro::new("I32Ne BrIf always", I32, compared.to_vec()),
        Micro::new("BrTable always", I32, always.to_vec()),
        Micro::new("Br", I32, vec![I::Block(BlockType::Empty), I::Br(0), I::End]),
        Micro::new("empty loop", I32, Vec::new()).once().waiting(),
        Micro::new("Call", I32, call),
        Micro::new("CallIndirect", I32, through),
    ]
}

fn bulk() -> Vec<Micro> {
    let fill = |length| vec![I::I32Const(0), I::LocalGet(AT), length, I::MemoryFill(0)];
    let copy = |length| {
        let copy = I::MemoryCopy { src_mem: 0, dst_mem: 0 };
        vec![I::I32Const(64), I::LocalGet(AT), length, copy]
    };
    let far = |to: i32| {
        let copy = I::MemoryCopy { src_mem: 0, dst_mem: 0 };
        vec![I::I32Const(to), I::LocalGet(AT), I::I32Const(32 << 20), copy]
    };
    let of = |name: &str, body| Micro::new(name, I32, body);
    let table_fill = vec![
        I::LocalGet(AT),
        I::RefNull(wasm_encoder::HeapType::FUNC),
        I::I32Const(4000),
        I::TableFill(0),
    ];
    let table_copy = vec![
        I::I32Const(100),
        I::LocalGet(AT),
        I::I32Const(3900),
        I::TableCopy { src_table: 0, dst_table: 0 },
    ];
    let none = || vec![I::LocalGet(AT)];
    vec![
        of("MemoryFill of nothing", [none(), none(), none(), vec![I::MemoryFill(0)]].concat()),
        of("MemoryFill of 16 bytes", fill(I::I32Const(16))),
        of("MemoryFill of 32 KiB", fill(I::I32Const(32 << 10))),
        // These two wait for memory, whose bandwidth is shared with whatever else the machine does: the copy was measured at 0.50
        // and at 0.35 of its time.
        of("MemoryFill of 32 MiB", fill(I::I32Const(32 << 20))).once().waiting(),
        of("MemoryCopy of 16 bytes", copy(I::I32Const(16))),
        of("MemoryCopy of 16 KiB", copy(I::I32Const(16 << 10))),
        of("MemoryCopy of 32 MiB", far(40 << 20)).once().waiting(),
        of("TableFill of 4000", table_fill),
        of("TableCopy of 3900", table_copy),
        of("MemoryGrow by nothing", vec![I::I32Const(0), I::MemoryGrow(0), I::Drop]),
    ]
}

fn hosts() -> Vec<Micro> {
    let call = |name: &'static str, arguments: &[i32], wide: &[usize]| {
        let ty = |at: usize| if wide.contains(&at) { I64 } else { I32 };
        let argument = |(at, value): (usize, &i32)| match ty(at) {
            I64 => I::I64Const((*value).into()),
            _ => I::I32Const(*value),
        };
        let mut body: Vec<_> = arguments.iter().enumerate().map(argument).collect();
        body.extend([I::Call(0), I::Drop]);
        let types = (0..arguments.len()).map(ty).collect();
        let long =
            if arguments.contains(&65_536) || arguments.contains(&16) { " by 64 KiB" } else { "" };
        Micro::new(format!("{name}{long}"), I32, body).calling(name, types)
    };
    // A vector of one part at 16: 64 KiB from 4096 on; and an empty one at 32.
    let parts = vec![
        I::I32Const(16),
        I::I32Const(4096),
        I::I32Store(at(2)),
        I::I32Const(20),
        I::I32Const(65_536),
        I::I32Store(at(2)),
    ];
    vec![
        call("sched_yield", &[], &[]),
        call("clock_time_get", &[0, 0, 8], &[1]),
        call("random_get", &[64, 8], &[]),
        call("random_get", &[64, 65_536], &[]),
        call("fd_read", &[0, 32, 1, 8], &[]),
        call("fd_write", &[2, 32, 1, 8], &[]),
        call("fd_write", &[1, 16, 1, 8], &[]).before(parts).turns(500),
        call("fd_fdstat_get", &[0, 64], &[]),
        call("environ_sizes_get", &[0, 8], &[]),
        call("fd_readdir", &[3, 4096, 1024, 0, 8], &[3]),
        call("fd_prestat_get", &[3, 8], &[]),
    ]
}
