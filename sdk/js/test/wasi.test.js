import assert from "node:assert/strict";
import { test } from "node:test";
import * as E from "../src/errno.js";
import { Guest } from "../src/guest.js";
import { OUTCOME } from "../src/index.js";
import { importsFor } from "../src/wasi.js";

const utf8 = (text) => new TextEncoder().encode(text);

/** The functions of one guest over a plain vector of bytes, with helpers that read and write it. */
function world(task = {}) {
  const limits = { output: 20n, log: 5n, scratch: 10_000n, ...task.limits };
  const guest = new Guest({ input: utf8("input"), argv: [], environment: [], files: [], index: 0, seed: new Uint8Array(32), ...task, limits });
  const memory = new Uint8Array(65_536);
  const view = new DataView(memory.buffer);
  const { wasi_snapshot_preview1: call } = importsFor(guest, () => memory);
  const put = (at, text) => memory.set(utf8(text), at);
  const text = (at, length) => new TextDecoder().decode(memory.subarray(at, at + length));
  const vector = (at, buffer, length) => {
    view.setUint32(at, buffer, true);
    view.setUint32(at + 4, length, true);
  };
  const open = (path, how, rights) => {
    put(1000, path);
    const code = call.path_open(3, 0, 1000, utf8(path).length, how, rights, 0n, 0, 900);
    return code === 0 ? view.getUint32(900, true) : -code;
  };
  return { guest, memory, view, call, put, text, vector, open };
}

const READ = 2n;
const WRITE = 64n;
const CREATE = 1;

test("input is read to its end and output written to its limit", () => {
  const { guest, call, text, vector, put, view } = world();
  vector(0, 100, 3);
  vector(8, 200, 10);
  assert.equal(call.fd_read(0, 0, 2, 16), 0);
  assert.deepEqual([view.getUint32(16, true), text(100, 3), text(200, 2)], [5, "inp", "ut"]);
  assert.equal(call.fd_read(0, 0, 2, 16), 0);
  assert.equal(view.getUint32(16, true), 0);
  put(100, "0123456789abcde");
  vector(0, 100, 15);
  assert.equal(call.fd_write(1, 0, 1, 16), 0);
  assert.throws(() => call.fd_write(1, 0, 1, 16), { kind: OUTCOME.OUTPUT_EXCEEDED });
  assert.equal(guest.output.length, 20);
  assert.equal(call.fd_write(2, 0, 1, 16), 0);
  assert.deepEqual([guest.log.length, view.getUint32(16, true)], [5, 15]);
});

test("pointers out of the memory are EFAULT, before anything happens where the result is checked first", () => {
  const { call, vector, guest } = world();
  vector(0, 65_530, 100);
  assert.equal(call.fd_write(1, 0, 1, 16), E.FAULT);
  vector(0, 100, 1);
  assert.equal(call.fd_write(1, 0, 1, -1), E.FAULT);
  assert.equal(guest.output.length, 0);
  assert.equal(call.fd_write(1, -8, 1, 16), E.FAULT);
});

test("nothing is moved when a later part leaves the memory", () => {
  const { call, vector, guest, text } = world();
  vector(0, 100, 4);
  vector(8, -1, 1);
  for (const stream of [1, 2]) assert.equal(call.fd_write(stream, 0, 2, 16), E.FAULT);
  assert.deepEqual([guest.output.length, guest.log.length], [0, 0]);
  assert.equal(call.fd_read(0, 0, 2, 16), E.FAULT);
  assert.equal(text(100, 4), "\0\0\0\0");
});

test("files are made, moved, listed in the order of bytes, and paid for", () => {
  const files = [{ name: "z", bytes: utf8("last") }];
  const { call, open, put, text, view } = world({ files });
  assert.equal(open("a", 0, READ), -E.NO_ENTRY);
  const made = open("é", CREATE, READ | WRITE);
  assert.equal(made, 4);
  assert.equal(open("z", 0, WRITE), -E.READ_ONLY);
  put(2000, "b");
  assert.equal(call.path_create_directory(3, 2000, 1), 0);
  assert.equal(open("third", CREATE, WRITE), -E.NO_SPACE);
  assert.equal(call.path_rename(3, 2000, 1, 3, 2000, 1), 0);
  assert.equal(call.fd_readdir(3, 3000, 4096, 2n, 16), 0);
  const names = [text(3024, 1), text(3049, 1), text(3074, 2)];
  assert.deepEqual([names, view.getUint32(16, true)], [["b", "z", "é"], 3 * 24 + 4]);
  put(2000, "../a");
  assert.equal(call.path_create_directory(3, 2000, 4), E.NOT_CAPABLE);
});

test("positions are 64 bits and may lie beyond the end", () => {
  const { call, open, view, vector } = world();
  const fd = open("a", CREATE, READ | WRITE);
  assert.equal(call.fd_seek(fd, 9_223_372_036_854_775_807n, 0, 16), 0);
  assert.equal(view.getBigUint64(16, true), 9_223_372_036_854_775_807n);
  assert.equal(call.fd_seek(fd, 1n, 1, 16), E.INVALID);
  assert.equal(call.fd_seek(fd, -1n, 0, 16), E.INVALID);
  vector(0, 100, 1);
  assert.equal(call.fd_write(fd, 0, 1, 16), E.NO_SPACE);
  assert.equal(call.fd_pwrite(fd, 0, 1, 50n, 16), 0);
  assert.equal(call.fd_filestat_get(fd, 500), 0);
  assert.equal(view.getBigUint64(532, true), 51n);
});

test("clocks are virtual and move together", () => {
  const { call, view } = world();
  assert.equal(call.clock_time_get(0, 0n, 0), 0);
  assert.equal(call.clock_time_get(1, 0n, 8), 0);
  assert.equal(view.getBigUint64(0, true), 1_577_836_800_001_000_000n);
  assert.equal(view.getBigUint64(8, true), 2_000_000n);
  assert.equal(call.clock_time_get(4, 0n, 0), E.INVALID);
});

test("randomness is a stream of seed and index", () => {
  const some = (index, lengths) => {
    const { call, memory } = world({ index });
    let at = 0;
    for (const length of lengths) {
      assert.equal(call.random_get(at, length), 0);
      at += length;
    }
    return Buffer.from(memory.subarray(0, at)).toString("hex");
  };
  assert.equal(some(1, [100]), some(1, [1, 63, 36]));
  assert.notEqual(some(1, [100]), some(2, [100]));
});

test("exit codes are bytes; what is not offered says so", () => {
  const { call } = world();
  assert.throws(() => call.proc_exit(258), { kind: OUTCOME.EXITED, code: 2 });
  assert.equal(call.poll_oneoff(0, 0, 0, 0), E.NOT_OFFERED);
  assert.equal(call.sock_send(0, 0, 0, 0, 0), E.NOT_OFFERED);
});

test("arguments and environment end in zeros", () => {
  const { call, text, view } = world({ argv: ["ü"], environment: [["A", "b"]] });
  assert.equal(call.args_sizes_get(0, 4), 0);
  assert.deepEqual([view.getUint32(0, true), view.getUint32(4, true)], [2, 8]);
  assert.equal(call.args_get(0, 100), 0);
  assert.equal(text(100, 8), "task\0ü\0");
  assert.equal(call.environ_get(0, 100), 0);
  assert.equal(text(100, 4), "A=b\0");
});
