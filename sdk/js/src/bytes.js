// Bytes: vectors that grow, text as bytes.

/** A vector of bytes that grows as it is written. */
export class Bytes {
  #space;
  #length = 0;

  constructor(room = 0) {
    this.#space = new Uint8Array(room);
  }

  get length() {
    return this.#length;
  }

  /** What was written so far; a view that the next write may leave behind. */
  view() {
    return this.#space.subarray(0, this.#length);
  }

  append(bytes) {
    const at = this.#length;
    this.resize(at + bytes.length);
    this.#space.set(bytes, at);
  }

  /** Cuts, or extends with zeros. */
  resize(length) {
    if (length > this.#space.length) {
      const space = new Uint8Array(Math.max(length, 2 * this.#space.length, 64));
      space.set(this.view());
      this.#space = space;
    }
    if (length < this.#length) this.#space.fill(0, length, this.#length);
    this.#length = length;
  }
}

/** Bytes as a string of one character per byte: compares, sorts and hashes as the bytes do. */
export function binary(bytes) {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return text;
}

/** The bytes of such a string. */
export function unbinary(text) {
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** UTF-8 of a text. */
export const utf8 = (text) => encoder.encode(text);

/** Whether bytes are UTF-8. */
export function isUtf8(bytes) {
  try {
    decoder.decode(bytes);
    return true;
  } catch {
    return false;
  }
}
