// The vectors are held to be those of the blake3 crate by a test in tests/portable.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { blake3, Blake3 } from "../src/index.js";

const vectors = JSON.parse(readFileSync(new URL("blake3-vectors.json", import.meta.url)));
const KEY = new TextEncoder().encode("whats the Elvish word for friend");
const hex = (bytes) => Buffer.from(bytes).toString("hex");
const input = (length) => Uint8Array.from({ length }, (_, at) => at % 251);

test("hashes are those of the reference for inputs around every edge of block, chunk and tree", () => {
  assert.ok(vectors.length > 15);
  for (const { length, hash, keyed } of vectors) {
    assert.equal(hex(blake3(input(length), 131)), hash, `${length} bytes`);
    assert.equal(hex(blake3(input(length), 32, KEY)), keyed, `${length} bytes, keyed`);
  }
});

test("a stream gives the same bytes in whatever pieces it is read", () => {
  const whole = blake3(input(100), 1000);
  const stream = new Blake3(input(100));
  let at = 0;
  for (const length of [0, 1, 63, 64, 65, 200, 607]) {
    const piece = new Uint8Array(length);
    stream.fill(piece);
    assert.equal(hex(piece), hex(whole.subarray(at, at + length)));
    at += length;
  }
  assert.equal(at, 1000);
});
