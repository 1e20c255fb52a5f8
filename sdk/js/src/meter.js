// What a metered module and its host say to each other (docs/protocol/metering.md).

/** Names of what the meter exports. */
export const EXPORT = Object.freeze({
  MARK: "tallymill:mark",
  COUNT: "tallymill:count",
  LIMIT: "tallymill:limit",
  STACK: "tallymill:stack",
  PAGES: "tallymill:pages",
  ENTRIES: "tallymill:entries",
  CAUSE: "tallymill:cause",
  INTEGRAL: "tallymill:integral",
  GROWN: "tallymill:grown",
  HOOKS: "tallymill:hooks",
  START: "tallymill:start",
  FINISH: "tallymill:finish",
});

/** Why a module stopped itself. */
export const CAUSE = Object.freeze({
  NONE: 0,
  EXHAUSTED: 1,
  STACK_OVERFLOW: 2,
  UNREACHABLE: 3,
  HOOK: 4,
  NULL_HOOK: 5,
  GROWTH: 6,
  ENGINE: 7,
});

/** The fixed distance between two looks at the hook, in fuel. */
export const SLICE = 1n << 22n;
/** The largest fuel limit. */
export const MAX_LIMIT = (1n << 62n) - 1n;
/** The largest stack budget, in modelled bytes. */
export const STACK_BUDGET = 512 * 1024;

const least = (a, b) => (a < b ? a : b);

/** Fuel counted so far. */
export function flushed(exports) {
  const fuel = exports[EXPORT.MARK].value + exports[EXPORT.COUNT].value;
  return fuel < 0n ? 0n : fuel;
}

/** Fuel owed by a run that ended in a trap: where the local count is lost, the slice defines it. */
export function stopped(cause, fuel, limit) {
  if (cause === CAUSE.EXHAUSTED) return limit;
  return least(cause === CAUSE.NONE ? (fuel | (SLICE - 1n)) + 1n : fuel, limit);
}

/** Pages × fuel of a run that owes `fuel` and ends with `pages` pages of memory, at most 2^64 - 1. */
export function memoryFuel(exports, pages, fuel) {
  const unsigned = (name) => BigInt.asUintN(64, exports?.[name].value ?? 0n);
  const grown = unsigned(EXPORT.GROWN);
  const since = fuel > grown ? fuel - grown : 0n;
  return least(unsigned(EXPORT.INTEGRAL) + since * pages, 2n ** 64n - 1n);
}

// (module (import "h" "h" (func (param i64))) (export "h" (func 0))): a table of functions takes
// only functions that came through the engine.
const WRAPPER = Uint8Array.of(
  0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, 1, 5, 1, 0x60, 1, 0x7e, 0, 2, 7, 1, 1, 0x68, 1, 0x68, 0, 0, 7, 5, 1, 1, 0x68, 0, 0,
);
let wrapper;

/** Makes `hook`, a function of the fuel so far, one that a table can hold. */
export function asHook(hook) {
  wrapper ??= new WebAssembly.Module(WRAPPER);
  const call = (fuel) => {
    hook(BigInt.asUintN(64, fuel));
  };
  return new WebAssembly.Instance(wrapper, { h: { h: call } }).exports.h;
}
