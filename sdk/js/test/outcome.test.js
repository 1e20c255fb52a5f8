import assert from "node:assert/strict";
import { test } from "node:test";
import { TRAP } from "../src/index.js";
import { trapOf } from "../src/outcome.js";
import { KIND, module, NO_LOCALS } from "./module.js";

/** What the engine throws when a function of this code runs, beside a memory of a page and a table of two: null, and `() -> ()`. */
function thrown(code, parts = {}) {
  const compiled = module({
    types: [[[], []], [[0x7f], []]],
    functions: [0],
    tables: [[2, 2]],
    memories: [1],
    exports: [["run", KIND.function, 0]],
    elements: [[0, 0x41, 1, 0x0b, 1, 0]],
    code: [[NO_LOCALS, ...code]],
    ...parts,
  });
  try {
    new WebAssembly.Instance(compiled).exports.run();
  } catch (error) {
    return error;
  }
  return assert.fail("it did not trap");
}

const NAN = [0x43, 0, 0, 0xc0, 0x7f];
const BIG = [0x43, 0, 0, 0x80, 0x4f];
const CASES = [
  ["unreachable", [0x00], TRAP.UNREACHABLE],
  ["i32.div_u by 0", [0x41, 1, 0x41, 0, 0x6e, 0x1a], TRAP.DIVISION_BY_ZERO],
  ["i32.rem_s by 0", [0x41, 1, 0x41, 0, 0x6f, 0x1a], TRAP.DIVISION_BY_ZERO],
  ["i64.div_s by 0", [0x42, 1, 0x42, 0, 0x7f, 0x1a], TRAP.DIVISION_BY_ZERO],
  ["i64.rem_u by 0", [0x42, 1, 0x42, 0, 0x82, 0x1a], TRAP.DIVISION_BY_ZERO],
  ["i32.div_s overflow", [0x41, 0x80, 0x80, 0x80, 0x80, 0x78, 0x41, 0x7f, 0x6d, 0x1a], TRAP.INTEGER_OVERFLOW],
  ["i32.trunc_f32_s of NaN", [...NAN, 0xa8, 0x1a], TRAP.INTEGER_OVERFLOW],
  ["i32.trunc_f32_s of 2^32", [...BIG, 0xa8, 0x1a], TRAP.INTEGER_OVERFLOW],
  ["i32.load at -1", [0x41, 0x7f, 0x28, 0, 0, 0x1a], TRAP.MEMORY_OUT_OF_BOUNDS],
  ["memory.fill beyond the end", [0x41, 0x7f, 0x41, 0, 0x41, 1, 0xfc, 11, 0], TRAP.MEMORY_OUT_OF_BOUNDS],
  ["memory.copy beyond the end", [0x41, 0x7f, 0x41, 0, 0x41, 1, 0xfc, 10, 0, 0], TRAP.MEMORY_OUT_OF_BOUNDS],
  ["table.get beyond the end", [0x41, 2, 0x25, 0, 0x1a], TRAP.TABLE_OUT_OF_BOUNDS],
  ["table.fill beyond the end", [0x41, 2, 0xd0, 0x70, 0x41, 1, 0xfc, 17, 0], TRAP.TABLE_OUT_OF_BOUNDS],
  ["table.copy beyond the end", [0x41, 2, 0x41, 0, 0x41, 1, 0xfc, 14, 0, 0], TRAP.TABLE_OUT_OF_BOUNDS],
  ["call_indirect beyond the end", [0x41, 2, 0x11, 0, 0], TRAP.TABLE_OUT_OF_BOUNDS],
  ["call_indirect of null", [0x41, 0, 0x11, 0, 0], TRAP.BAD_SIGNATURE],
  ["call_indirect of another type", [0x41, 0, 0x41, 1, 0x11, 1, 0], TRAP.BAD_SIGNATURE],
];

for (const [name, code, trap] of CASES) {
  test(`${name} has its code`, () => {
    assert.equal(trapOf(thrown(code)), trap);
  });
}

test("segments that do not fit are traps", () => {
  const data = [[0, 0x41, 0x7f, 0x0b, 1, 7]];
  assert.equal(trapOf(thrown([], { data })), TRAP.MEMORY_OUT_OF_BOUNDS);
  const elements = [[0, 0x41, 2, 0x0b, 1, 0]];
  assert.equal(trapOf(thrown([], { elements })), TRAP.TABLE_OUT_OF_BOUNDS);
});

test("what is not a trap has no code", () => {
  assert.equal(trapOf(new RangeError("Maximum call stack size exceeded")), undefined);
  assert.equal(trapOf(new Error("unreachable")), undefined);
  assert.equal(trapOf(new WebAssembly.RuntimeError("something new")), undefined);
});

test("the wordings of other engines are known", () => {
  const of = (message) => trapOf(new WebAssembly.RuntimeError(message));
  assert.equal(of("index out of bounds"), TRAP.MEMORY_OUT_OF_BOUNDS);
  assert.equal(of("table index out of bounds"), TRAP.TABLE_OUT_OF_BOUNDS);
  assert.equal(of("indirect call to null"), TRAP.BAD_SIGNATURE);
  assert.equal(of("integer overflow"), TRAP.INTEGER_OVERFLOW);
  assert.equal(of("integer divide by zero"), TRAP.DIVISION_BY_ZERO);
  assert.equal(of("Out of bounds memory access (evaluating 'x')"), TRAP.MEMORY_OUT_OF_BOUNDS);
  assert.equal(of("Out of bounds Trunc operation (evaluating 'x')"), TRAP.INTEGER_OVERFLOW);
  assert.equal(of("Unreachable code should not be executed (evaluating 'x')"), TRAP.UNREACHABLE);
});
