//! The plan of one function: where its charges stand, how large its frame is, which operators are
//! replaced by calls of helpers.
//!
//! A *segment* is a run of operators entered only at its top and left only at its bottom (a trap
//! aside). Its whole weight is charged on entry. The plan is data, so that later passes can merge
//! charges or lift them out of loops before anything is written.

use super::{Helper, count};
use crate::cost::{CostTable, Unit};
use crate::error::{Limit, MeterError};
use crate::screen::Place;
use crate::{Profile, abi};
use std::collections::BTreeSet;
use wasmparser::{FuncValidator, FunctionBody, Operator, ValidatorResources};

/// What the second pass needs to know about one function.
#[derive(Debug)]
pub(crate) struct Plan {
    /// In the order of their operators, at most one for each.
    pub charges: Vec<Charge>,
    /// Operators left in place although a helper exists, since their constant length was charged.
    pub inline: Vec<u32>,
    /// Modelled bytes of the call frame.
    pub frame: u32,
    /// Whether no other function of the guest's runs while this one's frame is live.
    pub leaf: bool,
    /// Parameters and locals, which is also the index of the counter.
    pub locals: u32,
}

/// A charge, standing before the operator `at` (an index into the body's operators).
#[derive(Debug)]
pub(crate) struct Charge {
    pub at: u32,
    pub cost: u64,
    pub kind: ChargeKind,
}

/// How a charge is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChargeKind {
    /// At function entry: takes the counter from the global and checks it.
    Entry,
    /// At a loop header: checks the counter.
    Header,
    /// After a call: takes the counter from the global.
    Resume,
    /// Anywhere else.
    Plain,
}

/// Validates one body and plans it.
pub(super) fn plan(
    body: &FunctionBody<'_>,
    validator: &mut FuncValidator<ValidatorResources>,
    profile: &Profile,
    helpers: &mut BTreeSet<Helper>,
) -> Result<Plan, MeterError> {
    let function = validator.index();
    let at = Place::function(body.range().start, function);
    profile.screen.check(Limit::BodyBytes, body.range().len() as u64, at)?;
    let mut planner = Planner::new(profile, validator, helpers);
    planner.run(body).map_err(|fault| match fault {
        Fault::Refused(error) => error,
        Fault::Invalid(error) => MeterError::invalid(&error, Some(function)),
    })?;
    planner.finish(at)
}

enum Fault {
    Refused(MeterError),
    Invalid(wasmparser::BinaryReaderError),
}

impl From<wasmparser::BinaryReaderError> for Fault {
    fn from(error: wasmparser::BinaryReaderError) -> Self {
        Self::Invalid(error)
    }
}

impl From<MeterError> for Fault {
    fn from(error: MeterError) -> Self {
        Self::Refused(error)
    }
}

struct Planner<'a> {
    profile: &'a Profile,
    costs: &'static CostTable,
    validator: &'a mut FuncValidator<ValidatorResources>,
    helpers: &'a mut BTreeSet<Helper>,
    charges: Vec<Charge>,
    inline: Vec<u32>,
    open: Charge,
    /// The operand on top of the stack, when the last operator was an `i32.const`.
    constant: Option<u32>,
    loops: u64,
    leaf: bool,
    height: u32,
}

impl<'a> Planner<'a> {
    fn new(
        profile: &'a Profile,
        validator: &'a mut FuncValidator<ValidatorResources>,
        helpers: &'a mut BTreeSet<Helper>,
    ) -> Self {
        let costs = profile.costs;
        Self {
            profile,
            costs,
            validator,
            helpers,
            charges: Vec::new(),
            inline: Vec::new(),
            open: Charge { at: 0, cost: costs.function().into(), kind: ChargeKind::Entry },
            constant: None,
            loops: 0,
            leaf: true,
            height: 0,
        }
    }

    fn run(&mut self, body: &FunctionBody<'_>) -> Result<(), Fault> {
        let mut reader = body.get_binary_reader();
        self.validator.read_locals(&mut reader)?;
        let index = self.validator.index();
        let locals = u64::from(self.validator.len_locals());
        let at = Place::function(body.range().start, index);
        self.profile.screen.check(Limit::Locals, locals, at)?;
        let mut operators = body.get_operators_reader()?;
        let mut position = 0;
        while !operators.eof() {
            let (op, offset) = operators.read_with_offset()?;
            self.operator(position, &op, Place::function(offset, index))?;
            position += 1;
        }
        operators.finish()?;
        self.close(position, ChargeKind::Plain);
        Ok(())
    }

    fn operator(&mut self, at: u32, op: &Operator<'_>, place: Place) -> Result<(), Fault> {
        // The frame on top of the control stack is missing only after the function's own end.
        let reachable = self.validator.get_control_frame(0).is_some_and(|f| !f.unreachable);
        self.screen(op, place)?;
        self.validator.op(place.offset, op)?;
        let depth = u64::from(self.validator.control_stack_height()).saturating_sub(1);
        self.profile.screen.check(Limit::ControlDepth, depth, place)?;
        self.height = self.height.max(self.validator.operand_stack_height());
        if reachable {
            self.open.cost += u64::from(self.costs.operator(op));
        }
        self.segment(at, op);
        self.constant = match op {
            Operator::I32Const { value } => Some(value.cast_unsigned()),
            _ => None,
        };
        Ok(())
    }

    fn screen(&mut self, op: &Operator<'_>, place: Place) -> Result<(), MeterError> {
        match op {
            Operator::BrTable { targets } => {
                self.profile.screen.check(Limit::BrTable, targets.len().into(), place)
            }
            Operator::Loop { .. } => {
                self.loops += 1;
                let locals = u64::from(self.validator.len_locals()) + 1;
                self.profile.screen.check(Limit::LoopLocals, self.loops * locals, place)
            }
            _ => Ok(()),
        }
    }

    /// Ends the open segment where the operator leaves straight-line code.
    fn segment(&mut self, at: u32, op: &Operator<'_>) {
        match op {
            Operator::Loop { .. } => self.close(at + 1, ChargeKind::Header),
            Operator::If { .. }
            | Operator::Else
            | Operator::End
            | Operator::Br { .. }
            | Operator::BrIf { .. }
            | Operator::BrTable { .. }
            | Operator::Return
            | Operator::Unreachable => self.close(at + 1, ChargeKind::Plain),
            Operator::Call { .. } | Operator::CallIndirect { .. } => {
                self.leaf = false;
                self.close(at + 1, ChargeKind::Resume);
            }
            _ => {
                if let Some((helper, unit)) = helper(op) {
                    self.helper(at, helper, unit);
                }
            }
        }
    }

    fn helper(&mut self, at: u32, helper: Helper, unit: Unit) {
        let grows = matches!(helper, Helper::MemoryGrow | Helper::TableGrow);
        match self.constant {
            Some(length) if length <= abi::INLINE_LENGTH && !grows => {
                self.open.cost += u64::from(length) * u64::from(self.costs.unit(unit));
                self.inline.push(at);
            }
            _ => {
                self.helpers.insert(helper);
                self.close(at + 1, ChargeKind::Resume);
            }
        }
    }

    fn close(&mut self, at: u32, kind: ChargeKind) {
        let next = Charge { at, cost: 0, kind };
        let done = std::mem::replace(&mut self.open, next);
        // A segment that costs nothing still has to load or check the counter.
        if done.cost > 0 || done.kind != ChargeKind::Plain {
            self.charges.push(done);
        }
    }

    fn finish(self, at: Place) -> Result<Plan, MeterError> {
        let locals = self.validator.len_locals();
        let slots = u64::from(locals) + u64::from(self.height);
        let frame = u64::from(abi::FRAME_BASE) + u64::from(abi::FRAME_SLOT) * slots;
        self.profile.screen.check(Limit::Frame, frame, at)?;
        let frame = count(usize::try_from(frame).unwrap_or(usize::MAX));
        let Self { charges, inline, leaf, .. } = self;
        Ok(Plan { charges, inline, frame, leaf, locals })
    }
}

/// The helper that stands in for an operator paid by length, and the unit it is paid in.
pub(crate) fn helper(op: &Operator<'_>) -> Option<(Helper, Unit)> {
    Some(match *op {
        Operator::MemoryFill { .. } => (Helper::MemoryFill, Unit::MemoryFill),
        Operator::MemoryCopy { .. } => (Helper::MemoryCopy, Unit::MemoryCopy),
        Operator::MemoryInit { data_index, .. } => {
            (Helper::MemoryInit(data_index), Unit::MemoryInit)
        }
        Operator::MemoryGrow { .. } => (Helper::MemoryGrow, Unit::MemoryGrow),
        Operator::TableFill { .. } => (Helper::TableFill, Unit::TableFill),
        Operator::TableCopy { .. } => (Helper::TableCopy, Unit::TableCopy),
        Operator::TableInit { elem_index, .. } => (Helper::TableInit(elem_index), Unit::TableInit),
        Operator::TableGrow { .. } => (Helper::TableGrow, Unit::TableGrow),
        _ => return None,
    })
}
