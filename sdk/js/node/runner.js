// Runs tasks for another program: one JSON line in for each, one JSON line out, in order.
//
// In:  {module, info, task, refill}. Bytes are base64, limits decimal texts. A line without `module` runs
//      the module of the line before. With `refill`, a seed, the hook moves the module's mark on by random
//      multiples of the slice, as a host may that wants to be asked less often.
// Out: {outcome, output, log, fuel, peakMemory, memoryFuel} or {void: {cause, detail}} or {error}.

import { createInterface } from "node:readline";
import { runTask } from "../src/index.js";
import { EXPORT, SLICE } from "../src/meter.js";

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

/** A hook that moves the mark on by up to 4 slices, never beyond the limit. */
function refiller(seed) {
  const next = generator(seed);
  return (fuel, exports) => {
    const wanted = exports[EXPORT.MARK].value + (next() % 5n) * SLICE;
    const limit = exports[EXPORT.LIMIT].value;
    const mark = wanted < limit ? wanted : limit;
    exports[EXPORT.COUNT].value = fuel - mark;
    exports[EXPORT.MARK].value = mark;
    return true;
  };
}

let module;

function answer(line) {
  const order = JSON.parse(line);
  if (order.module !== undefined) module = new WebAssembly.Module(bytes(order.module));
  const hook = order.refill === undefined ? undefined : refiller(order.refill);
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
