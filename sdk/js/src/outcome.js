// How a run can end, in the numbers that receipts hold (docs/protocol/formats.md).

/** Kinds of outcome. */
export const OUTCOME = Object.freeze({
  EXITED: 0,
  TRAPPED: 1,
  FUEL_EXHAUSTED: 2,
  MEMORY_EXCEEDED: 3,
  STACK_EXHAUSTED: 4,
  OUTPUT_EXCEEDED: 5,
  STOPPED: 6,
});

/** Codes of a trap. */
export const TRAP = Object.freeze({
  UNREACHABLE: 0,
  MEMORY_OUT_OF_BOUNDS: 1,
  TABLE_OUT_OF_BOUNDS: 2,
  BAD_SIGNATURE: 4,
  INTEGER_OVERFLOW: 5,
  DIVISION_BY_ZERO: 6,
});

/** An end that the host decided, thrown through the guest. */
export class Ending {
  constructor(kind, code) {
    this.kind = kind;
    this.code = code;
  }
}

// Engines word their traps as they like; what they do not tell apart, receipts do not either.
// V8's wording comes first, then SpiderMonkey's, then JavaScriptCore's.
const WORDINGS = [
  [/^unreachable/i, TRAP.UNREACHABLE],
  [/table index is out of bounds|table index out of bounds|out of bounds table access/i, TRAP.TABLE_OUT_OF_BOUNDS],
  [/element segment .*out of bounds|table initializer/i, TRAP.TABLE_OUT_OF_BOUNDS],
  [/memory access out of bounds|index out of bounds|out of bounds memory access/i, TRAP.MEMORY_OUT_OF_BOUNDS],
  [/data segment .*out of bounds/i, TRAP.MEMORY_OUT_OF_BOUNDS],
  [/null function|signature mismatch|indirect call to null|call_indirect to a/i, TRAP.BAD_SIGNATURE],
  [/divide by zero|remainder by zero|division by zero/i, TRAP.DIVISION_BY_ZERO],
  [/divide result unrepresentable|float unrepresentable|integer overflow/i, TRAP.INTEGER_OVERFLOW],
  [/invalid conversion to integer|out of bounds trunc/i, TRAP.INTEGER_OVERFLOW],
];

/** The code of a trap of the engine's, or `undefined` when the message is not one of a trap's. */
export function trapOf(error) {
  if (!(error instanceof WebAssembly.RuntimeError)) return undefined;
  const message = error.message.replace(/^WebAssembly\.\w+\(\):\s*/, "");
  return WORDINGS.find(([wording]) => wording.test(message))?.[1];
}
