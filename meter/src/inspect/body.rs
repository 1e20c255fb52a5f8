//! The plan of one function: where its charges stand, how large its frame is, where NaNs are made
//! canonical, which operators are replaced by calls of helpers.
//!
//! The body is validated and screened operator by operator; then what has been read is looked at as a
//! whole. The plan is data: nothing is written before the whole module has been seen.

use super::ahead::{self, Edge, Moved};
use super::charges::{self, Charge, Charges};
use super::gather::{self, Gather};
use super::hoist::{self, Hoist};
use super::nan::{self, Locals, Mends};
use super::{Helper, State, count};
use crate::cost::Unit;
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
    /// Branches that pay when they are taken, in the order of their operators.
    pub edges: Vec<Edge>,
    /// Operators left in place although a helper exists, since their constant length was charged.
    pub inline: Vec<u32>,
    /// Modelled bytes of the call frame.
    pub frame: u32,
    /// Whether no other function of the guest's runs while this one's frame is live.
    pub leaf: bool,
    /// Parameters and locals, which is also the index of the counter.
    pub locals: u32,
    /// Where NaNs are made canonical.
    pub mends: Mends,
    /// Stores that look for NaNs together, in their order.
    pub gathers: Vec<Gather>,
    /// Loops that are paid before they run, in their order.
    pub hoists: Vec<Hoist>,
}

/// An operator and how many operands it takes and gives.
#[derive(Clone, Debug)]
pub(crate) struct Op<'a> {
    pub op: Operator<'a>,
    pub pops: u32,
    pub pushes: u32,
    /// Whether it can be reached, as far as validation knows.
    pub live: bool,
}

/// What is asked of one function beside its body.
pub(super) struct Task<'a> {
    pub profile: &'a Profile,
    pub options: super::Options,
    pub params: u32,
}

/// Validates one body and plans it.
pub(super) fn plan(
    body: &FunctionBody<'_>,
    validator: &mut FuncValidator<ValidatorResources>,
    task: &Task<'_>,
    (helpers, state): (&mut BTreeSet<Helper>, &mut State),
) -> Result<Plan, MeterError> {
    let function = validator.index();
    let at = Place::function(body.range().start, function);
    task.profile.screen.check(Limit::BodyBytes, body.range().len() as u64, at)?;
    let mut reading = Reading { profile: task.profile, validator, loops: 0, height: 0 };
    let ops = reading.run(body).map_err(|fault| match fault {
        Fault::Refused(error) => error,
        Fault::Invalid(error) => MeterError::invalid(&error, Some(function)),
    })?;
    let frame = reading.frame(at)?;
    ops.iter().for_each(|op| state.operator(&op.op, at.offset));
    let locals = validator.len_locals();
    let types: Vec<_> = (0..locals).filter_map(|local| validator.get_local_type(local)).collect();
    let Charges { charges, inline, leaf, helpers: used, ends } =
        charges::charges(&ops, task.profile.costs);
    let mends = nan::mends(&ops, &Locals::new(&types, task.params));
    let mut moved = Moved { charges, edges: Vec::new() };
    let (mut hoists, mut gathers) = (Vec::new(), Vec::new());
    if !task.options.plain_loops {
        moved = ahead::ahead(&ops, &moved.charges, &ends);
        hoists = hoist::hoists(&ops, &moved, &types);
        gathers = gather::gathers(&ops, &mends);
    }
    helpers.extend(used);
    let Moved { charges, edges } = moved;
    Ok(Plan { charges, edges, inline, frame, leaf, locals, mends, gathers, hoists })
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

/// The first look at a body: validates, screens, and keeps the operators.
struct Reading<'a> {
    profile: &'a Profile,
    validator: &'a mut FuncValidator<ValidatorResources>,
    loops: u64,
    height: u32,
}

impl Reading<'_> {
    fn run<'b>(&mut self, body: &FunctionBody<'b>) -> Result<Vec<Op<'b>>, Fault> {
        let mut reader = body.get_binary_reader();
        self.validator.read_locals(&mut reader)?;
        let index = self.validator.index();
        let locals = u64::from(self.validator.len_locals());
        let at = Place::function(body.range().start, index);
        self.profile.screen.check(Limit::Locals, locals, at)?;
        let mut operators = body.get_operators_reader()?;
        let mut ops = Vec::new();
        while !operators.eof() {
            let (op, offset) = operators.read_with_offset()?;
            ops.push(self.operator(op, Place::function(offset, index))?);
        }
        operators.finish()?;
        Ok(ops)
    }

    fn operator<'b>(&mut self, op: Operator<'b>, place: Place) -> Result<Op<'b>, Fault> {
        // The frame on top of the control stack is missing only after the function's own end.
        let live = self.validator.get_control_frame(0).is_some_and(|f| !f.unreachable);
        self.screen(&op, place)?;
        let arity = op.operator_arity(self.validator);
        self.validator.op(place.offset, &op)?;
        let depth = u64::from(self.validator.control_stack_height()).saturating_sub(1);
        self.profile.screen.check(Limit::ControlDepth, depth, place)?;
        self.height = self.height.max(self.validator.operand_stack_height());
        let (pops, pushes) = arity.unwrap_or_default();
        Ok(Op { op, pops, pushes, live })
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

    fn frame(&self, at: Place) -> Result<u32, MeterError> {
        let slots = u64::from(self.validator.len_locals()) + u64::from(self.height);
        let frame = u64::from(abi::FRAME_BASE) + u64::from(abi::FRAME_SLOT) * slots;
        self.profile.screen.check(Limit::Frame, frame, at)?;
        Ok(count(usize::try_from(frame).unwrap_or(usize::MAX)))
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
