// Directories, paths and what the guest can learn about files.

import { binary, unbinary } from "./bytes.js";
import * as E from "./errno.js";
import * as N from "./files.js";
import { DIRECTORY, FILE, INPUT } from "./guest.js";
import { littleEndian } from "./memory.js";
import { MAX_TRANSFER } from "./streams.js";

const { fail } = E;

/** Name of the directory the guest starts with. */
const ROOT_NAME = Uint8Array.of(0x2f);
const TYPE_STREAM = 0;
const TYPE_DIRECTORY = 3;
const TYPE_FILE = 4;

const CREATE = 1;
const MUST_BE_DIRECTORY = 2;
const EXCLUSIVE = 4;
const TRUNCATE = 8;
/** Flags of a descriptor: append, and four about synchronising that change nothing here. */
const ALL_FLAGS = 0x1f;

const READ = 1n << 1n;
const WRITE = 1n << 6n;
/** To seek and tell: without them, and with a stream's type, the C library knows that it is no terminal. */
const SEEK = (1n << 2n) | (1n << 5n);
const ALL_RIGHTS = (1n << 30n) - 1n;

/** Inode numbers: 1 to 3 are the streams. */
const inode = (id) => BigInt(id) + 4n;
const typeOf = (node) => (node.kind === N.DIRECTORY ? TYPE_DIRECTORY : TYPE_FILE);

export function fdPrestatGet(guest, memory, fd, result) {
  if (!guest.handle(fd).preopened) fail(E.BAD_FD);
  memory.put(result, Uint8Array.of(0, 0, 0, 0, 1, 0, 0, 0));
}

export function fdPrestatDirName(guest, memory, fd, at, length) {
  if (!guest.handle(fd).preopened) fail(E.BAD_FD);
  if (length < 1) fail(E.NAME_TOO_LONG);
  memory.put(at, ROOT_NAME);
}

function statOf(guest, handle) {
  switch (handle.kind) {
    case INPUT:
      return [TYPE_STREAM, 0, READ];
    case DIRECTORY:
      return [TYPE_DIRECTORY, 0, ALL_RIGHTS & ~SEEK];
    case FILE: {
      const denied = (handle.readable ? 0n : READ) | (handle.writable ? 0n : WRITE);
      return [typeOf(guest.files.node(handle.node)), handle.flags, ALL_RIGHTS & ~denied];
    }
    default:
      return [TYPE_STREAM, 0, WRITE];
  }
}

export function fdFdstatGet(guest, memory, fd, result) {
  const [type, flags, rights] = statOf(guest, guest.handle(fd));
  const stat = new Uint8Array(24);
  stat[0] = type;
  stat.set(littleEndian(BigInt(flags), 2), 2);
  stat.set(littleEndian(rights, 8), 8);
  stat.set(littleEndian(rights, 8), 16);
  memory.put(result, stat);
}

export function fdFdstatSetFlags(guest, _memory, fd, flags) {
  if (flags & ~ALL_FLAGS) fail(E.INVALID);
  const handle = guest.handle(fd);
  if (handle.kind === FILE) handle.flags = flags;
}

/** Device 1, the inode, one link, the size, and all times at zero. */
function putStat(memory, at, number, type, size) {
  const stat = new Uint8Array(64);
  stat[0] = 1;
  stat.set(littleEndian(number, 8), 8);
  stat[16] = type;
  stat[24] = 1;
  stat.set(littleEndian(size, 8), 32);
  memory.put(at, stat);
}

function putNode(guest, memory, at, id) {
  putStat(memory, at, inode(id), typeOf(guest.files.node(id)), guest.files.size(id));
}

export function fdFilestatGet(guest, memory, fd, result) {
  const { node } = guest.handle(fd);
  if (node === undefined) putStat(memory, result, BigInt(fd) + 1n, TYPE_STREAM, 0n);
  else putNode(guest, memory, result, node);
}

export function fdFilestatSetSize(guest, _memory, fd, size) {
  const file = guest.file(fd);
  if (!file.writable) fail(E.BAD_FD);
  guest.files.resize(file.node, size);
}

function placeOf(guest, memory, fd, at, length) {
  const from = guest.directory(fd);
  return guest.files.resolve(from, binary(memory.bytes(at, length)));
}

export function pathFilestatGet(guest, memory, fd, _flags, at, length, result) {
  const { node } = placeOf(guest, memory, fd, at, length);
  putNode(guest, memory, result, node ?? fail(E.NO_ENTRY));
}

export function pathCreateDirectory(guest, memory, fd, at, length) {
  guest.files.createDirectory(placeOf(guest, memory, fd, at, length));
}

export function pathUnlinkFile(guest, memory, fd, at, length) {
  guest.files.unlinkFile(placeOf(guest, memory, fd, at, length));
}

export function pathRemoveDirectory(guest, memory, fd, at, length) {
  guest.files.removeDirectory(placeOf(guest, memory, fd, at, length));
}

export function pathRename(guest, memory, fd, at, length, toFd, toAt, toLength) {
  const from = placeOf(guest, memory, fd, at, length);
  const to = placeOf(guest, memory, toFd, toAt, toLength);
  guest.files.rename(from, to);
}

export function pathOpen(guest, memory, fd, _dirflags, at, length, how, rights, _inheriting, flags, result) {
  memory.bytes(result, 4);
  if (flags & ~ALL_FLAGS) fail(E.INVALID);
  const place = placeOf(guest, memory, fd, at, length);
  const node = place.node ?? create(guest, memory, place, how, at, length);
  const exclusive = CREATE | EXCLUSIVE;
  if (place.node !== undefined && (how & exclusive) === exclusive) fail(E.EXISTS);
  const handle = handleFor(guest, node, how, rights, flags);
  memory.putU32(result, guest.open(handle));
}

function create(guest, memory, place, how, at, length) {
  const mayCreate = how & CREATE && !(how & MUST_BE_DIRECTORY);
  const directoryNamed = memory.bytes(at, length).at(-1) === ROOT_NAME[0];
  return mayCreate && !directoryNamed ? guest.files.create(place) : fail(E.NO_ENTRY);
}

function handleFor(guest, node, how, rights, flags) {
  const writable = (rights & WRITE) !== 0n;
  const truncate = (how & TRUNCATE) !== 0;
  const { kind } = guest.files.node(node);
  if (kind === N.DIRECTORY) {
    return truncate ? fail(E.IS_DIRECTORY) : { kind: DIRECTORY, node, preopened: false };
  }
  if (how & MUST_BE_DIRECTORY) fail(E.NOT_DIRECTORY);
  if (kind === N.INPUT && (writable || truncate)) fail(E.READ_ONLY);
  if (truncate) guest.files.resize(node, 0n);
  return { kind: FILE, node, position: 0n, readable: (rights & READ) !== 0n, writable, flags };
}

/** Lists a directory: `.`, `..`, then the names in order. The cookie is a position in that list. */
export function fdReaddir(guest, memory, fd, at, length, cookie, result) {
  memory.bytes(result, 4);
  const id = guest.directory(fd);
  const entries = [[".", id], ["..", N.ROOT], ...guest.files.list(id)];
  const target = memory.bytes(at, Math.min(length, MAX_TRANSFER));
  const first = cookie < BigInt(entries.length) ? Number(cookie) : entries.length;
  let used = 0;
  for (let position = first; position < entries.length && used < target.length; position += 1) {
    const [name, entry] = entries[position];
    const text = unbinary(name);
    for (const part of [dirent(position + 1, entry, text, typeOf(guest.files.node(entry))), text]) {
      const fits = part.subarray(0, target.length - used);
      target.set(fits, used);
      used += fits.length;
    }
  }
  memory.putU32(result, used);
}

function dirent(next, id, name, type) {
  const head = new Uint8Array(24);
  head.set(littleEndian(BigInt(next), 8), 0);
  head.set(littleEndian(inode(id), 8), 8);
  head.set(littleEndian(BigInt(name.length), 4), 16);
  head[20] = type;
  return head;
}
