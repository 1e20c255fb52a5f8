// Runs tasks for another program: one JSON line in for each, one JSON line out, in order.
//
// In:  {module, info, task, looks}. Bytes are base64, limits decimal texts. A line without `module` runs
//      the module of the line before. With `looks`, a seed, the hook asks for the next look at a random
//      distance within the slice: no host does, and it must not change anything.
// Out: {outcome, output, log, fuel, peakMemory, memoryFuel} or {void: {cause, detail}} or {error}.

import { createInterface } from "node:readline";
import { runTask } from "../src/index.js";
import { EXPORT } from "../src/meter.js";

const bytes = (base64) => new Uint8Array(Buffer.from(base64, "base64"));
const base64 = (bytes) => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("base64");

function taskOf({ limits, seed, index, input, argv, environment, files }) {
  return {
    limits: Object.fromEntries(Object.entries(limits).map(([name, limit]) => [name, BigInt(limit)])),
    seed: bytes(seed),
    index,
    input: bytes(input),
    argv,
    environment,
    files: files.map((file) => ({ name: file.name, bytes: bytes(file.bytes) })),
  };
}

/** Numbers from a seed; any will do, as long as the seed repeats them. */
function generator(seed) {
  let state = BigInt(seed) | 1n;
  return () => {
    state = BigInt.asUintN(64, state * 6364136223846793005n + 1442695040888963407n);
    return state >> 33n;
  };
}

/** A hook that brings the next look nearer, to between 2^10 and 2^22 units of fuel from now. */
function looker(seed) {
  const next = generator(seed);
  return (fuel, exports) => {
    const distance = (1n << (10n + (next() % 13n))) - (next() % 1000n);
    const before = exports[EXPORT.MARK].value;
    const mark = fuel + distance < before ? fuel + distance : before;
    exports[EXPORT.COUNT].value = fuel - mark;
    exports[EXPORT.MARK].value = mark;
    return true;
  };
}

let module;

function answer(line) {
  const order = JSON.parse(line);
  if (order.module !== undefined) module = new WebAssembly.Module(bytes(order.module));
  const hook = order.looks === undefined ? undefined : looker(order.looks);
  const result = runTask(module, order.info, taskOf(order.task), hook);
  if (result.void) return result;
  return {
    outcome: result.outcome,
    output: base64(result.output),
    log: base64(result.log),
    fuel: `${result.fuel}`,
    peakMemory: `${result.peakMemory}`,
    memoryFuel: `${result.memoryFuel}`,
  };
}

for await (const line of createInterface({ input: process.stdin, crlfDelay: Infinity })) {
  let said;
  try {
    said = answer(line);
  } catch (error) {
    said = { error: `${error?.stack ?? error}` };
  }
  process.stdout.write(`${JSON.stringify(said)}\n`);
}
