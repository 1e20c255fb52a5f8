//! What a guest keeps between two calls beside its memory: mutable globals, the functions that references can name, and the
//! segments that it can drop.

use crate::Screen;
use crate::error::{Limit, MeterError};
use crate::screen::Place;
use std::collections::BTreeSet;
use wasmparser::{
    BinaryReaderError, ConstExpr, ElementItems, ElementSectionReader, GlobalSectionReader,
    Operator, ValType,
};

/// A data or an element segment, by its index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Segment {
    Data(u32),
    Element(u32),
}

/// What the host of a module in steps must be able to read and to set.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// Mutable globals in the module's order: index and type.
    pub mutable: Vec<(u32, ValType)>,
    /// Number of data segments.
    pub data: u32,
    /// Number of element segments.
    pub elements: u32,
    /// Segments that some operator drops.
    pub drops: BTreeSet<Segment>,
    /// Functions that a reference can name.
    pub references: BTreeSet<u32>,
    /// Where the globals begin, and the last function that drops a segment.
    globals_at: usize,
    drops_at: usize,
}

impl State {
    pub(super) fn globals(
        &mut self,
        section: &GlobalSectionReader<'_>,
    ) -> Result<(), BinaryReaderError> {
        self.globals_at = section.range().start;
        for (index, global) in (0..).zip(section.clone()) {
            let global = global?;
            self.constant(&global.init_expr)?;
            if global.ty.mutable {
                self.mutable.push((index, global.ty.content_type));
            }
        }
        Ok(())
    }

    pub(super) fn elements(
        &mut self,
        section: &ElementSectionReader<'_>,
    ) -> Result<(), BinaryReaderError> {
        self.elements = section.count();
        for element in section.clone() {
            match element?.items {
                ElementItems::Functions(functions) => {
                    for function in functions {
                        self.references.insert(function?);
                    }
                }
                ElementItems::Expressions(_, expressions) => {
                    for expression in expressions {
                        self.constant(&expression?)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn constant(&mut self, expression: &ConstExpr<'_>) -> Result<(), BinaryReaderError> {
        for operator in expression.get_operators_reader() {
            self.operator(&operator?, 0);
        }
        Ok(())
    }

    /// Notes an operator of a function whose body begins at `offset`.
    pub(super) fn operator(&mut self, operator: &Operator<'_>, offset: usize) {
        let dropped = match *operator {
            Operator::RefFunc { function_index } => {
                self.references.insert(function_index);
                return;
            }
            Operator::DataDrop { data_index } => Segment::Data(data_index),
            Operator::ElemDrop { elem_index } => Segment::Element(elem_index),
            _ => return,
        };
        self.drops.insert(dropped);
        self.drops_at = offset;
    }

    /// The limits that only modules in steps have.
    pub(super) fn screen(&self, screen: &Screen) -> Result<(), MeterError> {
        let globals = self.mutable.len() as u64;
        screen.check(Limit::StepGlobals, globals, Place::module(self.globals_at))?;
        let drops = self.drops.len() as u64;
        screen.check(Limit::StepDrops, drops, Place::module(self.drops_at))
    }
}
