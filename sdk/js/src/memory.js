// Checked access to the guest's memory: a bad pointer is EFAULT, never an exception of the engine's.

import { FAULT, fail } from "./errno.js";

/** The guest's linear memory during one host call. Numbers are unsigned. */
export class Memory {
  #bytes;

  constructor(bytes) {
    this.#bytes = bytes;
  }

  /** `length` bytes at `at`, to read or to write. */
  bytes(at, length) {
    if (at + length > this.#bytes.length) fail(FAULT);
    return this.#bytes.subarray(at, at + length);
  }

  u32(at) {
    const [a, b, c, d] = this.bytes(at, 4);
    return (a | (b << 8) | (c << 16) | (d << 24)) >>> 0;
  }

  put(at, bytes) {
    this.bytes(at, bytes.length).set(bytes);
  }

  putU32(at, value) {
    this.put(at, littleEndian(BigInt(value), 4));
  }

  putU64(at, value) {
    this.put(at, littleEndian(value, 8));
  }

  /** Element `index` of a vector of (pointer, length) pairs at `at`. */
  vector(at, index) {
    const place = at + 8 * index;
    if (place + 4 > 0xffffffff) fail(FAULT);
    return [this.u32(place), this.u32(place + 4)];
  }
}

/** `size` bytes of an unsigned BigInt, the low ones first. */
export function littleEndian(value, size) {
  const bytes = new Uint8Array(size);
  for (let at = 0; at < size; at += 1) bytes[at] = Number((value >> BigInt(8 * at)) & 0xffn);
  return bytes;
}
