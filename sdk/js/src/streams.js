// Reading and writing descriptors.

import * as E from "./errno.js";
import { DIRECTORY, FILE, INPUT, LOG, OUTPUT } from "./guest.js";
import { Ending, OUTCOME } from "./outcome.js";

const { Errno, fail } = E;

/** Most bytes that one call moves; more is a short read or write. */
export const MAX_TRANSFER = 1 << 20;
/** Most (pointer, length) pairs in one call. */
const MAX_VECTORS = 1024;
/** Flag of a file whose writes go to its end. */
const APPEND = 1;
const MAX_POSITION = 2n ** 63n - 1n;

/**
 * Calls `part` with every part of a vector until it answers less than it was given, and sums the answers.
 * If a part leaves memory nothing is moved: bytes that were moved are paid only by calls that succeed.
 */
function eachPart(memory, vectors, count, part) {
  if (count > MAX_VECTORS) fail(E.INVALID);
  for (let index = 0, left = MAX_TRANSFER; index < count && left > 0; index += 1) {
    const [at, wanted] = memory.vector(vectors, index);
    left -= memory.bytes(at, Math.min(wanted, left)).length;
  }
  let done = 0;
  for (let index = 0; index < count; index += 1) {
    const [at, wanted] = memory.vector(vectors, index);
    const length = Math.min(wanted, MAX_TRANSFER - done);
    const moved = part(memory.bytes(at, length));
    done += moved;
    if (moved < length || done === MAX_TRANSFER) break;
  }
  return done;
}

function copyFrom(source, position, target) {
  const at = position < BigInt(source.length) ? Number(position) : source.length;
  const part = source.subarray(at, at + target.length);
  target.set(part);
  return part.length;
}

function readInput(guest, memory, handle, vectors, count) {
  let at = handle.position;
  const done = eachPart(memory, vectors, count, (target) => {
    const moved = copyFrom(guest.input, BigInt(at), target);
    at += moved;
    return moved;
  });
  handle.position = at;
  return done;
}

function readFile(guest, memory, fd, position, vectors, count) {
  const file = guest.file(fd);
  if (!file.readable) fail(E.BAD_FD);
  const contents = guest.files.contents(file.node);
  let at = position;
  return eachPart(memory, vectors, count, (target) => {
    const moved = copyFrom(contents, at, target);
    at += BigInt(moved);
    return moved;
  });
}

export function fdRead(guest, memory, fd, vectors, count, result) {
  memory.bytes(result, 4);
  const handle = guest.handle(fd);
  let done;
  if (handle.kind === INPUT) {
    done = readInput(guest, memory, handle, vectors, count);
  } else if (handle.kind === FILE) {
    done = readFile(guest, memory, fd, handle.position, vectors, count);
    handle.position += BigInt(done);
  } else {
    fail(handle.kind === DIRECTORY ? E.IS_DIRECTORY : E.BAD_FD);
  }
  memory.putU32(result, done);
}

export function fdPread(guest, memory, fd, vectors, count, offset, result) {
  memory.bytes(result, 4);
  memory.putU32(result, readFile(guest, memory, fd, offset, vectors, count));
}

function room(limit, used, wanted) {
  const left = limit > BigInt(used) ? limit - BigInt(used) : 0n;
  return left < BigInt(wanted) ? Number(left) : wanted;
}

/** Takes output up to its limit; what is beyond ends the run. */
function writeOutput(guest, bytes) {
  const fits = room(guest.outputLimit, guest.output.length, bytes.length);
  guest.output.append(bytes.subarray(0, fits));
  if (fits < bytes.length) throw new Ending(OUTCOME.OUTPUT_EXCEEDED, 0);
  return fits;
}

/** Takes the log up to its limit and drops the rest without telling. */
function writeLog(guest, bytes) {
  guest.log.append(bytes.subarray(0, room(guest.logLimit, guest.log.length, bytes.length)));
  return bytes.length;
}

/** Writes what the scratch limit allows: an error only when that is nothing. */
function writeFile(guest, memory, fd, start, vectors, count) {
  const file = guest.file(fd);
  if (!file.writable) fail(E.BAD_FD);
  let at = start;
  return eachPart(memory, vectors, count, (bytes) => {
    const moved = writePart(guest, file.node, at, bytes, at > start);
    at += BigInt(moved);
    return moved;
  });
}

function writePart(guest, node, at, bytes, begun) {
  try {
    return guest.files.write(node, at, bytes);
  } catch (error) {
    if (begun && error instanceof Errno && error.code === E.NO_SPACE) return 0;
    throw error;
  }
}

export function fdWrite(guest, memory, fd, vectors, count, result) {
  memory.bytes(result, 4);
  const handle = guest.handle(fd);
  let done;
  if (handle.kind === OUTPUT) {
    done = eachPart(memory, vectors, count, (bytes) => writeOutput(guest, bytes));
  } else if (handle.kind === LOG) {
    done = eachPart(memory, vectors, count, (bytes) => writeLog(guest, bytes));
  } else if (handle.kind === FILE) {
    const end = guest.files.size(handle.node);
    const at = handle.flags & APPEND ? end : handle.position;
    done = writeFile(guest, memory, fd, at, vectors, count);
    handle.position = at + BigInt(done);
  } else {
    fail(E.BAD_FD);
  }
  memory.putU32(result, done);
}

export function fdPwrite(guest, memory, fd, vectors, count, offset, result) {
  memory.bytes(result, 4);
  memory.putU32(result, writeFile(guest, memory, fd, offset, vectors, count));
}

export function fdSeek(guest, memory, fd, by, whence, result) {
  memory.bytes(result, 8);
  const file = guest.file(fd);
  if (whence > 2) fail(E.INVALID);
  const from = [() => 0n, () => file.position, () => guest.files.size(file.node)][whence]();
  const position = from + BigInt.asIntN(64, by);
  if (position < 0n || position > MAX_POSITION) fail(E.INVALID);
  file.position = position;
  memory.putU64(result, position);
}

export function fdTell(guest, memory, fd, result) {
  memory.putU64(result, guest.file(fd).position);
}

export function fdClose(guest, _memory, fd) {
  guest.close(fd);
}

/** Nothing is behind a file that could be lost. */
export function fdSync(guest, _memory, fd) {
  guest.handle(fd);
}
