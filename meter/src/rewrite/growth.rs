//! Stand-ins for `memory.grow` and `table.grow`: the limit of the run decides before the engine is
//! asked, and an engine that then refuses makes the run void. A growth that the limit refuses
//! answers −1 and pays nothing beyond the operator itself. A growth of the memory that succeeded sums
//! memory × fuel up to here.

use super::layout::{Layout, Types};
use super::runtime::stop_for;
use super::{Code, function};
use crate::abi::Cause;
use crate::cost::{CostTable, Unit};
use wasm_encoder::{BlockType, InstructionSink, ValType};

const REFUSED: i32 = -1;

/// One of the two growing operators, as far as the generated code differs.
pub(super) struct Growth {
    table: bool,
    /// The maximum the guest declared for itself.
    declared: Option<u64>,
    /// Parameter that holds the number of pages or elements asked for.
    delta: u32,
    /// Local that holds the engine's answer.
    answer: u32,
}

impl Growth {
    pub(super) fn memory(declared: Option<u64>) -> Self {
        // An engine can never go beyond the address space, so neither does the meter.
        let declared = Some(declared.unwrap_or(1 << 16));
        Self { table: false, declared, delta: 0, answer: 1 }
    }

    pub(super) fn table(declared: Option<u64>) -> Self {
        Self { table: true, declared, delta: 1, answer: 2 }
    }

    /// The helper's code.
    pub(super) fn code(&self, layout: &Layout, types: &mut Types, costs: &CostTable) -> Code {
        let code = function(&[ValType::I32], |code| {
            self.refuse(code, layout);
            self.pay(code, layout, costs);
            self.grow(code, layout);
            self.grown(code, layout);
        });
        if self.table {
            Code::new(types, &[ValType::FUNCREF, ValType::I32], &[ValType::I32], code)
        } else {
            Code::new(types, &[ValType::I32], &[ValType::I32], code)
        }
    }

    fn refuse(&self, code: &mut InstructionSink<'_>, layout: &Layout) {
        let limit = if self.table { layout.globals.entries } else { layout.globals.pages };
        self.wanted(code);
        code.global_get(limit).i64_extend_i32_u().i64_gt_u();
        if let Some(declared) = self.declared {
            self.wanted(code);
            code.i64_const(declared.cast_signed()).i64_gt_u().i32_or();
        }
        code.if_(BlockType::Empty).i32_const(REFUSED).return_().end();
    }

    /// Pushes the size asked for as a 64-bit number, where it cannot wrap.
    fn wanted(&self, code: &mut InstructionSink<'_>) {
        self.size(code);
        code.i64_extend_i32_u().local_get(self.delta).i64_extend_i32_u().i64_add();
    }

    fn size(&self, code: &mut InstructionSink<'_>) {
        if self.table {
            code.table_size(0);
        } else {
            code.memory_size(0);
        }
    }

    fn pay(&self, code: &mut InstructionSink<'_>, layout: &Layout, costs: &CostTable) {
        let unit = if self.table { Unit::TableGrow } else { Unit::MemoryGrow };
        let price = i64::from(costs.unit(unit));
        code.local_get(self.delta).i64_extend_i32_u().i64_const(price).i64_mul();
        code.call(layout.runtime.pay);
    }

    fn grow(&self, code: &mut InstructionSink<'_>, layout: &Layout) {
        // Nothing more is there already: an engine would take a system call to find that out.
        code.local_get(self.delta).i32_eqz().if_(BlockType::Result(ValType::I32));
        self.size(code);
        code.else_();
        if self.table {
            code.local_get(0).local_get(self.delta).table_grow(0);
        } else {
            code.local_get(self.delta).memory_grow(0);
        }
        code.end();
        code.local_tee(self.answer).i32_const(REFUSED).i32_eq().if_(BlockType::Empty);
        stop_for(code, layout, Cause::Growth);
        code.end();
    }

    /// The only place where memory or a table has become larger: the count is flushed and exact.
    fn grown(&self, code: &mut InstructionSink<'_>, layout: &Layout) {
        if !self.table {
            code.local_get(self.answer).call(layout.runtime.sum);
        }
        code.local_get(self.answer);
    }
}
