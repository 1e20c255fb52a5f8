// Arguments, environment, clocks, randomness, exit.

import * as E from "./errno.js";
import { Ending, OUTCOME } from "./outcome.js";
import { MAX_TRANSFER } from "./streams.js";

const { fail } = E;

/** What the real-time clock shows before it is first read: 2020-01-01T00:00:00Z, ns. */
const EPOCH = 1_577_836_800_000_000_000n;
/** How far every reading moves all clocks, ns; also their resolution. */
const TICK = 1_000_000n;
const CLOCKS = 4;
const TOP = 2 ** 32;

function putSizes(texts, memory, count, size) {
  memory.putU32(count, texts.length);
  memory.putU32(size, texts.reduce((sum, text) => sum + text.length + 1, 0));
}

function putTexts(texts, memory, pointers, bytes) {
  let at = bytes;
  texts.forEach((text, index) => {
    const pointer = pointers + 4 * index;
    memory.putU32(pointer, at);
    if (pointer + 4 >= TOP) fail(E.FAULT);
    for (const part of [text, Uint8Array.of(0)]) {
      memory.put(at, part);
      at += part.length;
      if (at >= TOP) fail(E.FAULT);
    }
  });
}

export function argsSizesGet(guest, memory, count, size) {
  putSizes(guest.arguments, memory, count, size);
}

export function argsGet(guest, memory, pointers, bytes) {
  putTexts(guest.arguments, memory, pointers, bytes);
}

export function environSizesGet(guest, memory, count, size) {
  putSizes(guest.environment, memory, count, size);
}

export function environGet(guest, memory, pointers, bytes) {
  putTexts(guest.environment, memory, pointers, bytes);
}

/** Clocks 0 (real time), 1 (monotonic), 2 and 3 (CPU time) all move together. */
export function clockTimeGet(guest, memory, clock, _precision, result) {
  if (clock >= CLOCKS) fail(E.INVALID);
  memory.bytes(result, 8);
  guest.ticks += 1n;
  memory.putU64(result, guest.ticks * TICK + (clock === 0 ? EPOCH : 0n));
}

export function clockResGet(_guest, memory, clock, result) {
  if (clock >= CLOCKS) fail(E.INVALID);
  memory.putU64(result, TICK);
}

export function randomGet(guest, memory, at, length) {
  if (length > MAX_TRANSFER) fail(E.INVALID);
  guest.randomness(memory.bytes(at, length));
}

export function schedYield() {}

/** Exit codes are bytes, as on Unix: the low eight bits count. */
export function procExit(_guest, _memory, code) {
  throw new Ending(OUTCOME.EXITED, code & 0xff);
}
