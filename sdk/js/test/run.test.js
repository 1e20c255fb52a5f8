import assert from "node:assert/strict";
import { test } from "node:test";
import { OUTCOME, runTask, TRAP, VOID } from "../src/index.js";
import { asHook, CAUSE, MAX_LIMIT, memoryFuel, SLICE, stopped } from "../src/meter.js";
import { metered } from "./module.js";

const LIMITS = { fuel: 100n, memory: 1n << 20n, output: 100n, log: 10n, stack: 1n << 20n, table: 10n, scratch: 10n };
const INFO = { memory: { min: 1 } };
const task = (limits = {}) => ({
  limits: { ...LIMITS, ...limits },
  seed: new Uint8Array(32),
  index: 0,
  input: new Uint8Array(0),
  argv: [],
  environment: [],
  files: [],
});
const run = (start, limits, hook) => runTask(metered(start), INFO, task(limits), hook);

const COUNT_7 = [0x42, 7, 0x24, 1];
const setCause = (cause) => [0x41, cause, 0x24, 6];
const UNREACHABLE = 0x00;
const CALL_HOOK = [0x42, 9, 0x41, 0, 0x11, 3, 0];

test("a run that returns exits with 0 and owes what was flushed", () => {
  const result = run(COUNT_7);
  assert.deepEqual([result.outcome, result.fuel, result.peakMemory, result.memoryFuel], [[0, 0], 7n, 65_536n, 7n]);
});

test("proc_exit ends with its code", () => {
  const result = run([...COUNT_7, 0x41, 3, 0x10, 0]);
  assert.deepEqual([result.outcome, result.fuel], [[OUTCOME.EXITED, 3], 7n]);
});

test("the module is told its limits", () => {
  // exit(pages + entries + stack / 2^16), which is 16 + 10 + 8
  const start = [0x23, 4, 0x23, 5, 0x6a, 0x23, 3, 0x41, 16, 0x76, 0x6a, 0x10, 0];
  assert.deepEqual(run(start).outcome, [0, 34]);
});

test("causes that the guest answers for are outcomes", () => {
  const ends = (cause) => run([...COUNT_7, ...setCause(cause), UNREACHABLE]);
  assert.deepEqual(ends(CAUSE.EXHAUSTED), { ...ends(CAUSE.EXHAUSTED), outcome: [OUTCOME.FUEL_EXHAUSTED, 0], fuel: 100n });
  assert.deepEqual(ends(CAUSE.STACK_OVERFLOW), { ...ends(CAUSE.STACK_OVERFLOW), outcome: [OUTCOME.STACK_EXHAUSTED, 0], fuel: 7n });
  assert.deepEqual(ends(CAUSE.UNREACHABLE), { ...ends(CAUSE.UNREACHABLE), outcome: [OUTCOME.TRAPPED, TRAP.UNREACHABLE], fuel: 7n });
});

test("causes that it does not answer for are void", () => {
  for (const cause of [CAUSE.HOOK, CAUSE.NULL_HOOK, CAUSE.ENGINE, 99]) {
    assert.equal(run([...setCause(cause), UNREACHABLE]).void.cause, VOID.OTHER);
  }
  assert.equal(run([...setCause(CAUSE.GROWTH), UNREACHABLE]).void.cause, VOID.GROWTH_REFUSED);
});

test("a trap of the engine owes a slice or the limit", () => {
  const divides = [0x41, 1, 0x41, 0, 0x6e, 0x1a];
  const result = run(divides);
  assert.deepEqual([result.outcome, result.fuel], [[OUTCOME.TRAPPED, TRAP.DIVISION_BY_ZERO], 100n]);
  assert.equal(run(divides, { fuel: MAX_LIMIT + 5n }).fuel, SLICE);
});

test("a native stack that ends before the modelled one is void", () => {
  assert.equal(run([0x10, 2]).void.cause, VOID.NATIVE_OVERFLOW);
});

test("the hook gets the fuel and may stop the run", () => {
  const seen = [];
  const hook = (fuel) => {
    seen.push(fuel);
    return seen.length < 2;
  };
  const result = run([...COUNT_7, ...CALL_HOOK, ...CALL_HOOK], {}, hook);
  assert.deepEqual([seen, result.outcome, result.fuel], [[9n, 9n], [OUTCOME.STOPPED, 0], 7n]);
});

test("an exception of the host's own is void, not the guest's", () => {
  const result = run(CALL_HOOK, {}, () => {
    throw new TypeError("broken");
  });
  assert.deepEqual(result.void, { cause: VOID.OTHER, detail: "TypeError: broken" });
});

test("a module that declares more than it is granted does not run", () => {
  const result = runTask(metered([UNREACHABLE]), { memory: { min: 17 } }, task());
  assert.deepEqual([result.outcome, result.fuel], [[OUTCOME.MEMORY_EXCEEDED, 0], 0n]);
  const table = runTask(metered([UNREACHABLE]), { ...INFO, table: { min: 11 } }, task());
  assert.deepEqual(table.outcome, [OUTCOME.MEMORY_EXCEEDED, 0]);
});

test("output and log are what was written, cut at the limit", () => {
  const iovec = [0x41, 0, 0x41, 0, 0x36, 2, 0, 0x41, 4, 0x41, 8, 0x36, 2, 0];
  const write = (fd) => [0x41, fd, 0x41, 0, 0x41, 1, 0x41, 16, 0x10, 1, 0x1a];
  const result = run([...iovec, ...write(1), ...write(2), ...write(2)], {});
  assert.deepEqual([result.output.length, result.log.length], [8, 10]);
  assert.deepEqual(run([...iovec, ...write(1)], { output: 5n }).outcome, [OUTCOME.OUTPUT_EXCEEDED, 0]);
});

test("fuel owed after a trap is defined by the slice", () => {
  assert.equal(stopped(CAUSE.NONE, 0n, MAX_LIMIT), SLICE);
  assert.equal(stopped(CAUSE.NONE, SLICE, MAX_LIMIT), 2n * SLICE);
  assert.equal(stopped(CAUSE.NONE, 5n, 6n), 6n);
  assert.equal(stopped(CAUSE.UNREACHABLE, 9n, 6n), 6n);
});

test("memory is charged for the fuel spent since the sum ends", () => {
  // integral := 100, grown := 5
  const result = run([...COUNT_7, 0x42, 0xe4, 0, 0x24, 7, 0x42, 5, 0x24, 8]);
  assert.equal(result.memoryFuel, 102n);
  const exports = { "tallymill:integral": { value: -2n }, "tallymill:grown": { value: 0n } };
  assert.equal(memoryFuel(exports, 1n, 1n), 2n ** 64n - 1n);
  assert.equal(memoryFuel(exports, 65_536n, 1n << 48n), 2n ** 64n - 1n);
  assert.equal(memoryFuel(undefined, 3n, 7n), 21n);
});

test("a hook hands unsigned fuel on and answers nothing", () => {
  let seen;
  const hook = asHook((fuel) => {
    seen = fuel;
    return "ignored";
  });
  assert.equal(hook(-1n), undefined);
  assert.equal(seen, (1n << 64n) - 1n);
});
