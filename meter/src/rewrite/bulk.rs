//! Stand-ins for the bulk operators: both full ranges first, then the price of the whole length,
//! then chunks with a look at the hook before each.
//!
//! Most moves are short, hold, and end before the next look: for those of memory there is a quick way with
//! one comparison, and the shortest of its copies do not even go through the engine's operator.
//!
//! A range that does not hold traps before anything is paid, by running the original operator, so
//! that the trap is the engine's own. A price above the limit ends the run before the first byte.
//! The helpers are called, so the count is flushed; they work on the flushed count.

use super::layout::{Layout, Types};
use super::runtime::stop_for;
use super::{Code, function};
use crate::abi::{CHUNK_BYTES, CHUNK_ELEMENTS, Cause};
use crate::cost::{CostTable, Unit};
use crate::inspect::Helper;
use wasm_encoder::{BlockType, InstructionSink, MemArg, ValType};

/// Parameters of every helper, then its locals.
const TO: u32 = 0;
const FROM: u32 = 1;
const LENGTH: u32 = 2;
const CHUNK: u32 = 3;
/// The last bytes of a short copy.
const TAIL: u32 = 4;

/// Copies up to this many bytes are made with loads and stores.
const SHORT: u32 = 16;

/// What one bulk operator does, as far as the generated code differs.
pub(super) struct Bulk {
    helper: Helper,
    unit: Unit,
    /// Whether it moves elements of a table instead of bytes of a memory.
    table: bool,
    source: Source,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    /// A value, the same for the whole range.
    Value,
    /// A position in the same memory or table, so ranges may overlap.
    Same,
    /// A position in a segment, whose length only the engine knows: it may have been dropped.
    Segment,
}

impl Bulk {
    /// The description of a helper, if it is for a bulk operator.
    pub(super) fn new(helper: Helper) -> Option<Self> {
        let (unit, table, source) = match helper {
            Helper::MemoryFill => (Unit::MemoryFill, false, Source::Value),
            Helper::MemoryCopy => (Unit::MemoryCopy, false, Source::Same),
            Helper::MemoryInit(_) => (Unit::MemoryInit, false, Source::Segment),
            Helper::TableFill => (Unit::TableFill, true, Source::Value),
            Helper::TableCopy => (Unit::TableCopy, true, Source::Same),
            Helper::TableInit(_) => (Unit::TableInit, true, Source::Segment),
            Helper::MemoryGrow | Helper::TableGrow => return None,
        };
        Some(Self { helper, unit, table, source })
    }

    /// The helper's code.
    pub(super) fn code(&self, layout: &Layout, types: &mut Types, costs: &CostTable) -> Code {
        let value = match self.helper {
            Helper::TableFill => ValType::FUNCREF,
            _ => ValType::I32,
        };
        let price = i64::from(costs.unit(self.unit));
        let code = function(&[ValType::I32, ValType::I64], |code| {
            if !self.table && self.source != Source::Segment {
                self.quick(code, layout, price);
            }
            self.ranges(code, layout);
            self.price(code, LENGTH, price).call(layout.runtime.afford);
            let pay = |code: &mut InstructionSink<'_>| {
                self.price(code, CHUNK, price).call(layout.runtime.pay);
            };
            if self.source == Source::Same {
                // Reading ahead of the writing is only safe in the direction of the move.
                code.local_get(TO).local_get(FROM).i32_le_u().if_(BlockType::Empty);
                self.forward(code, pay);
                code.else_();
                self.backward(code, pay);
                code.end();
            } else {
                self.forward(code, pay);
            }
        });
        Code::new(types, &[ValType::I32, value, ValType::I32], &[], code)
    }

    /// Moves and returns, if the length is at most a chunk, the ranges hold, and the price ends before the next look.
    fn quick(&self, code: &mut InstructionSink<'_>, layout: &Layout, price: i64) {
        let count = layout.globals.count;
        code.local_get(LENGTH).i32_const(CHUNK_BYTES.cast_signed()).i32_le_u();
        end_of(code, TO);
        self.size(code);
        code.i64_le_u().i32_and();
        if self.source == Source::Same {
            end_of(code, FROM);
            self.size(code);
            code.i64_le_u().i32_and();
        }
        self.price(code, LENGTH, price).global_get(count).i64_add().i64_const(0).i64_le_s();
        code.i32_and().if_(BlockType::Empty);
        self.price(code, LENGTH, price).global_get(count).i64_add().global_set(count);
        if self.source == Source::Same {
            code.local_get(LENGTH).i32_const(SHORT.cast_signed()).i32_le_u().if_(BlockType::Empty);
            [8, 4, 2, 1].into_iter().for_each(|size| short(code, size));
            code.return_().end();
        }
        code.local_get(TO).local_get(FROM).local_get(LENGTH);
        self.operator(code);
        code.return_().end();
    }

    fn operator(&self, code: &mut InstructionSink<'_>) {
        match self.helper {
            Helper::MemoryFill => code.memory_fill(0),
            Helper::MemoryCopy => code.memory_copy(0, 0),
            Helper::MemoryInit(segment) => code.memory_init(0, segment),
            Helper::TableFill => code.table_fill(0),
            Helper::TableCopy => code.table_copy(0, 0),
            Helper::TableInit(segment) => code.table_init(0, segment),
            Helper::MemoryGrow | Helper::TableGrow => code,
        };
    }

    fn ranges(&self, code: &mut InstructionSink<'_>, layout: &Layout) {
        end_of(code, TO);
        self.size(code);
        code.i64_gt_u();
        match self.source {
            Source::Value => {}
            Source::Same => {
                end_of(code, FROM);
                self.size(code);
                code.i64_gt_u().i32_or();
            }
            Source::Segment => {
                end_of(code, FROM);
                code.i64_const(u32::MAX.into()).i64_gt_u().i32_or();
            }
        }
        code.if_(BlockType::Empty);
        code.local_get(TO).local_get(FROM).local_get(LENGTH);
        self.operator(code);
        stop_for(code, layout, Cause::Engine);
        code.end();
        if self.source == Source::Segment {
            // An empty move from the end of the range traps exactly if the segment is shorter.
            code.i32_const(0).local_get(FROM).local_get(LENGTH).i32_add().i32_const(0);
            self.operator(code);
        }
    }

    fn size(&self, code: &mut InstructionSink<'_>) {
        if self.table {
            code.table_size(0).i64_extend_i32_u();
        } else {
            code.memory_size(0).i64_extend_i32_u().i64_const(16).i64_shl();
        }
    }

    fn price<'c, 's>(
        &self,
        code: &'c mut InstructionSink<'s>,
        length: u32,
        price: i64,
    ) -> &'c mut InstructionSink<'s> {
        code.local_get(length).i64_extend_i32_u().i64_const(price).i64_mul()
    }

    /// Sets the next chunk: what is left, but not more than fits between two looks.
    fn chunk(&self, code: &mut InstructionSink<'_>) {
        let most = if self.table { CHUNK_ELEMENTS } else { CHUNK_BYTES }.cast_signed();
        code.local_get(LENGTH).i32_const(most);
        code.local_get(LENGTH).i32_const(most).i32_lt_u().select().local_set(CHUNK);
    }

    fn forward(&self, code: &mut InstructionSink<'_>, pay: impl Fn(&mut InstructionSink<'_>)) {
        code.loop_(BlockType::Empty);
        self.chunk(code);
        pay(code);
        code.local_get(TO).local_get(FROM).local_get(CHUNK);
        self.operator(code);
        code.local_get(TO).local_get(CHUNK).i32_add().local_set(TO);
        if self.source != Source::Value {
            code.local_get(FROM).local_get(CHUNK).i32_add().local_set(FROM);
        }
        code.local_get(LENGTH).local_get(CHUNK).i32_sub().local_tee(LENGTH).br_if(0).end();
    }

    fn backward(&self, code: &mut InstructionSink<'_>, pay: impl Fn(&mut InstructionSink<'_>)) {
        code.loop_(BlockType::Empty);
        self.chunk(code);
        pay(code);
        code.local_get(LENGTH).local_get(CHUNK).i32_sub().local_set(LENGTH);
        code.local_get(TO).local_get(LENGTH).i32_add();
        code.local_get(FROM).local_get(LENGTH).i32_add();
        code.local_get(CHUNK);
        self.operator(code);
        code.local_get(LENGTH).br_if(0).end();
    }
}

/// Pushes the end of a range as a 64-bit number, where it cannot wrap.
fn end_of(code: &mut InstructionSink<'_>, start: u32) {
    code.local_get(start).i64_extend_i32_u().local_get(LENGTH).i64_extend_i32_u().i64_add();
}

/// Copies `size` to twice as many bytes and returns: the first and the last `size` of them, which may overlap. All is read
/// before anything is written, so the ranges may overlap as well.
fn short(code: &mut InstructionSink<'_>, size: u32) {
    let first = MemArg { offset: 0, align: 0, memory_index: 0 };
    let load = |code: &mut InstructionSink<'_>| {
        match size {
            8 => code.i64_load(first),
            4 => code.i64_load32_u(first),
            2 => code.i64_load16_u(first),
            _ => code.i64_load8_u(first),
        };
    };
    let store = |code: &mut InstructionSink<'_>| {
        match size {
            8 => code.i64_store(first),
            4 => code.i64_store32(first),
            2 => code.i64_store16(first),
            _ => code.i64_store8(first),
        };
    };
    let last = |code: &mut InstructionSink<'_>, start: u32| {
        code.local_get(start).local_get(LENGTH).i32_add().i32_const(size.cast_signed()).i32_sub();
    };
    code.local_get(LENGTH).i32_const(size.cast_signed()).i32_ge_u().if_(BlockType::Empty);
    code.local_get(TO).local_get(FROM);
    load(code);
    last(code, FROM);
    load(code);
    code.local_set(TAIL);
    store(code);
    last(code, TO);
    code.local_get(TAIL);
    store(code);
    code.return_().end();
}
