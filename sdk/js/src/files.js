// The guest's files: read-only inputs and a writable directory in memory, under one root.
//
// Names and paths are strings of one character per byte (`binary`), so that names sort as their
// bytes do. Sizes and positions are BigInt: a guest may seek to 2^63.

import { Bytes, isUtf8, unbinary } from "./bytes.js";
import * as E from "./errno.js";

const { fail } = E;

const MAX_PATH = 4096;
const MAX_NAME = 255;
/** What a file or directory costs of the scratch limit besides its bytes. */
const ENTRY_COST = 4096n;

/** Number of the root directory. */
export const ROOT = 0;
/** Kinds of node. */
export const DIRECTORY = "directory";
export const INPUT = "input";
export const FILE = "file";

const sizeOf = (node) => (node.kind === DIRECTORY ? 0n : BigInt(node.bytes.length));

/** All files of one run. */
export class Files {
  #slots = [];
  #free = [];
  #used = 0n;
  #limit;

  /** A root directory that holds `inputs` ({name, bytes}); what the guest adds may use `limit` bytes. */
  constructor(inputs, limit) {
    this.#limit = limit;
    const names = new Map();
    this.#slots[ROOT] = { kind: DIRECTORY, names, linked: true, opened: 1 };
    for (const { name, bytes } of inputs) {
      names.set(name, this.#slots.length);
      this.#slots.push({ kind: INPUT, bytes, linked: true, opened: 0 });
    }
  }

  /** The node `id`, which must be linked or open. */
  node(id) {
    return this.#slots[id] ?? fail(E.BAD_FD);
  }

  size(id) {
    return sizeOf(this.node(id));
  }

  /** The bytes of a file. */
  contents(id) {
    const node = this.node(id);
    if (node.kind === DIRECTORY) fail(E.IS_DIRECTORY);
    return node.kind === FILE ? node.bytes.view() : node.bytes;
  }

  /** Names of a directory in the order of their bytes, each with its node. */
  list(id) {
    return [...this.#names(id)].sort(([a], [b]) => (a < b ? -1 : 1));
  }

  #names(id) {
    const node = this.node(id);
    return node.kind === DIRECTORY ? node.names : fail(E.NOT_DIRECTORY);
  }

  /** Follows the bytes of a path from the directory `from`, which it may not leave: parent, name and what stands there. */
  resolve(from, path) {
    if (path.length > MAX_PATH) fail(E.NAME_TOO_LONG);
    if (!isUtf8(unbinary(path))) fail(E.ILLEGAL_SEQUENCE);
    if (path === "") fail(E.NO_ENTRY);
    if (path.startsWith("/") || path.includes("\0")) fail(E.NOT_CAPABLE);
    const above = [];
    let place = { parent: from, name: "", node: from };
    for (const part of path.split("/").filter((part) => part !== "" && part !== ".")) {
      place = this.#step(place.node ?? fail(E.NO_ENTRY), part, above);
    }
    const ends = place.node === undefined ? undefined : this.node(place.node);
    if (path.endsWith("/") && ends && ends.kind !== DIRECTORY) fail(E.NOT_DIRECTORY);
    return place;
  }

  #step(here, part, above) {
    if (part === "..") {
      const up = above.pop() ?? fail(E.NOT_CAPABLE);
      return { parent: up, name: "", node: up };
    }
    above.push(here);
    if (part.length > MAX_NAME) fail(E.NAME_TOO_LONG);
    return { parent: here, name: part, node: this.#names(here).get(part) };
  }

  #spend(bytes) {
    if (this.#used + bytes > this.#limit) fail(E.NO_SPACE);
    this.#used += bytes;
  }

  #add(place, node) {
    if (!this.node(place.parent).linked) fail(E.NO_ENTRY);
    this.#spend(ENTRY_COST);
    const id = this.#free.pop() ?? this.#slots.length;
    this.#slots[id] = { ...node, linked: true, opened: 0 };
    this.#names(place.parent).set(place.name, id);
    return id;
  }

  /** Makes an empty file at a free place. */
  create(place) {
    return this.#add(place, { kind: FILE, bytes: new Bytes() });
  }

  /** Makes a directory at a free place. */
  createDirectory(place) {
    if (place.node !== undefined) fail(E.EXISTS);
    this.#add(place, { kind: DIRECTORY, names: new Map() });
  }

  /** Counts an open handle. */
  opened(id) {
    this.node(id).opened += 1;
  }

  /** Forgets an open handle. */
  closed(id) {
    const node = this.node(id);
    node.opened = Math.max(0, node.opened - 1);
    this.#release(id);
  }

  #release(id) {
    const node = this.node(id);
    if (node.linked || node.opened > 0) return;
    this.#used -= ENTRY_COST + sizeOf(node);
    this.#slots[id] = undefined;
    this.#free.push(id);
  }

  #unlink(place, id) {
    this.#names(place.parent).delete(place.name);
    this.node(id).linked = false;
    this.#release(id);
  }

  static #named(place) {
    if (place.node === undefined) fail(E.NO_ENTRY);
    return place.name === "" ? fail(E.INVALID) : place.node;
  }

  /** Removes a file. */
  unlinkFile(place) {
    const id = Files.#named(place);
    const { kind } = this.node(id);
    if (kind === DIRECTORY) fail(E.IS_DIRECTORY);
    if (kind === INPUT) fail(E.READ_ONLY);
    this.#unlink(place, id);
  }

  /** Removes an empty directory. */
  removeDirectory(place) {
    const id = Files.#named(place);
    if (this.#names(id).size > 0) fail(E.NOT_EMPTY);
    this.#unlink(place, id);
  }

  /** Moves a file or directory, replacing a file or an empty directory of the same kind. */
  rename(from, to) {
    const id = Files.#named(from);
    if (to.name === "") fail(E.INVALID);
    if (this.node(id).kind === INPUT) fail(E.READ_ONLY);
    if (to.node === id) return;
    if (this.#contains(id, to.parent)) fail(E.INVALID);
    this.#makeRoom(id, to);
    this.#names(from.parent).delete(from.name);
    this.#names(to.parent).set(to.name, id);
  }

  #makeRoom(moved, to) {
    if (!this.node(to.parent).linked) fail(E.NO_ENTRY);
    if (to.node === undefined) return;
    const isDirectory = this.node(moved).kind === DIRECTORY;
    const { kind } = this.node(to.node);
    if (kind === INPUT) fail(E.READ_ONLY);
    if (isDirectory && kind === DIRECTORY) this.removeDirectory(to);
    else if (isDirectory) fail(E.NOT_DIRECTORY);
    else if (kind === DIRECTORY) fail(E.IS_DIRECTORY);
    else this.#unlink(to, to.node);
  }

  /** Whether `inner` is `outer` or lies below it. */
  #contains(outer, inner) {
    const left = [outer];
    while (left.length > 0) {
      const id = left.pop();
      if (id === inner) return true;
      const node = this.node(id);
      if (node.kind === DIRECTORY) left.push(...node.names.values());
    }
    return false;
  }

  /** Writes `bytes` at `at`, as many as the scratch limit allows; the gap before `at` is zeros. */
  write(id, at, bytes) {
    const size = this.size(id);
    const left = this.#limit > this.#used ? this.#limit - this.#used : 0n;
    const room = left + size - at;
    const fits = room < BigInt(bytes.length) ? Number(room < 0n ? 0n : room) : bytes.length;
    if (fits === 0) return bytes.length === 0 ? 0 : fail(E.NO_SPACE);
    const end = at + BigInt(fits);
    if (end > size) this.resize(id, end);
    this.#writable(id).view().set(bytes.subarray(0, fits), Number(at));
    return fits;
  }

  #writable(id) {
    const node = this.node(id);
    if (node.kind === INPUT) fail(E.READ_ONLY);
    return node.kind === DIRECTORY ? fail(E.IS_DIRECTORY) : node.bytes;
  }

  /** Cuts or extends a file with zeros. */
  resize(id, size) {
    const bytes = this.#writable(id);
    const before = BigInt(bytes.length);
    if (size > before) this.#spend(size - before);
    else this.#used -= before - size;
    bytes.resize(Number(size));
  }
}
