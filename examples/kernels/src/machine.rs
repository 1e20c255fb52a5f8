//! A machine with a stack of numbers that runs a small program: one branch to many places.

use crate::random::Checksum;

/// Numbers on the stack and in memory: more than the program needs.
const SLOTS: usize = 16;

#[derive(Clone, Copy)]
enum Op {
    Push(i64),
    Load(usize),
    Store(usize),
    Add,
    Mul,
    Half,
    Odd,
    Less,
    Jump(usize),
    JumpIfZero(usize),
    Call(usize),
    Return,
    Halt,
}

/// Cells of the memory.
const LIMIT: usize = 0;
const CANDIDATE: usize = 1;
const VALUE: usize = 2;
const BEST: usize = 3;
const STEPS: usize = 4;

/// Places in the program.
const NEXT: usize = 2;
const KEEP: usize = 17;
const SEQUENCE: usize = 22;
const EVEN: usize = 39;
const MOVED: usize = 41;
const END: usize = 43;
const DONE: usize = 44;

/// The most steps to 1 of any number below the limit, by Collatz's rule.
#[rustfmt::skip]
const PROGRAM: [Op; 45] = {
    use Op::{Add, Call, Half, Halt, Jump, JumpIfZero, Less, Load, Mul, Odd, Push, Return, Store};
    [
        Push(1), Store(CANDIDATE),
        // NEXT
        Load(CANDIDATE), Load(LIMIT), Less, JumpIfZero(END),
        Load(CANDIDATE), Store(VALUE), Push(0), Store(STEPS), Call(SEQUENCE),
        Load(BEST), Load(STEPS), Less, JumpIfZero(KEEP), Load(STEPS), Store(BEST),
        // KEEP
        Load(CANDIDATE), Push(1), Add, Store(CANDIDATE), Jump(NEXT),
        // SEQUENCE
        Push(1), Load(VALUE), Less, JumpIfZero(DONE),
        Load(STEPS), Push(1), Add, Store(STEPS),
        Load(VALUE), Odd, JumpIfZero(EVEN),
        Load(VALUE), Push(3), Mul, Push(1), Add, Jump(MOVED),
        // EVEN
        Load(VALUE), Half,
        // MOVED
        Store(VALUE), Jump(SEQUENCE),
        // END
        Halt,
        // DONE
        Return,
    ]
};

struct Machine {
    stack: [i64; SLOTS],
    height: usize,
    memory: [i64; SLOTS],
    calls: Vec<usize>,
}

impl Machine {
    fn push(&mut self, value: i64) {
        self.stack[self.height] = value;
        self.height += 1;
    }

    fn pop(&mut self) -> i64 {
        self.height -= 1;
        self.stack[self.height]
    }

    fn unary(&mut self, work: impl Fn(i64) -> i64) {
        let value = self.pop();
        self.push(work(value));
    }

    fn binary(&mut self, work: impl Fn(i64, i64) -> i64) {
        let (right, left) = (self.pop(), self.pop());
        self.push(work(left, right));
    }

    /// Runs until the program halts and gives the number of instructions.
    fn run(&mut self, program: &[Op]) -> u64 {
        let (mut at, mut count) = (0, 0);
        loop {
            let op = program[at];
            at += 1;
            count += 1;
            match op {
                Op::Push(value) => self.push(value),
                Op::Load(cell) => self.push(self.memory[cell]),
                Op::Store(cell) => self.memory[cell] = self.pop(),
                Op::Add => self.binary(i64::wrapping_add),
                Op::Mul => self.binary(i64::wrapping_mul),
                Op::Half => self.unary(|value| value >> 1),
                Op::Odd => self.unary(|value| value & 1),
                Op::Less => self.binary(|left, right| i64::from(left < right)),
                Op::Jump(to) => at = to,
                Op::JumpIfZero(to) => at = if self.pop() == 0 { to } else { at },
                Op::Call(to) => self.calls.push(std::mem::replace(&mut at, to)),
                Op::Return => match self.calls.pop() {
                    Some(back) => at = back,
                    None => return count,
                },
                Op::Halt => return count,
            }
        }
    }
}

/// The most steps of any number below `limit`, and the number of instructions.
fn longest(limit: u32) -> (i64, u64) {
    let mut memory = [0; SLOTS];
    memory[LIMIT] = i64::from(limit);
    let mut machine = Machine { stack: [0; SLOTS], height: 0, memory, calls: Vec::new() };
    let count = machine.run(&PROGRAM);
    (machine.memory[BEST], count)
}

/// Lets the machine look for the longest sequence below `limit`.
#[inline(never)]
pub(crate) fn interpret(limit: u32) -> u64 {
    let (best, count) = longest(limit);
    let mut sum = Checksum::new();
    sum.add(best.cast_unsigned());
    sum.add(count);
    sum.value()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_sequences_are_the_known_ones() {
        // 27 takes 111 steps, 97 takes 118, 871 takes 178.
        assert_eq!([28, 98, 1000].map(|limit| longest(limit).0), [111, 118, 178]);
        assert_eq!(longest(1), (0, 7));
    }
}
