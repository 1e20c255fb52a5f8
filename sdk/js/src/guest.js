// The state of one run that host functions read and change.

import { Blake3 } from "./blake3.js";
import { binary, Bytes, utf8 } from "./bytes.js";
import * as E from "./errno.js";
import { Files, ROOT } from "./files.js";

const { fail } = E;

/** Most files a guest may hold open. */
const MAX_OPEN = 1024;
/** `argv[0]` of every guest. */
const PROGRAM = "task";

/** What a guest's file descriptor stands for, as the `kind` of a handle. */
export const INPUT = "input";
export const OUTPUT = "output";
export const LOG = "log";
export const DIRECTORY = "directory";
export const FILE = "file";

/** Bytes of the index of a task, the high ones first. */
const bigEndian = (index) => Uint8Array.of(index >>> 24, index >>> 16, index >>> 8, index);

/** The state of one run. */
export class Guest {
  output = new Bytes();
  log = new Bytes();
  /** How often a clock was read. */
  ticks = 0n;
  #random;
  #handles = [
    { kind: INPUT, position: 0 },
    { kind: OUTPUT },
    { kind: LOG },
    { kind: DIRECTORY, node: ROOT, preopened: true },
  ];

  /** The state at the start of a task; see `runTask` for its shape. */
  constructor(task) {
    this.input = task.input;
    this.outputLimit = task.limits.output;
    this.logLimit = task.limits.log;
    this.arguments = [PROGRAM, ...task.argv].map(utf8);
    this.environment = task.environment.map(([name, value]) => utf8(`${name}=${value}`));
    const files = task.files.map(({ name, bytes }) => ({ name: binary(utf8(name)), bytes }));
    this.files = new Files(files, task.limits.scratch);
    this.#random = () => {
      const stream = new Blake3(Uint8Array.of(...utf8("tallymill/v1/random"), ...bigEndian(task.index)), task.seed);
      this.#random = () => stream;
      return stream;
    };
  }

  /** What `fd` stands for. */
  handle(fd) {
    return this.#handles[fd] ?? fail(E.BAD_FD);
  }

  /** The open file `fd`. */
  file(fd) {
    const handle = this.handle(fd);
    if (handle.kind === FILE) return handle;
    return fail(handle.kind === DIRECTORY ? E.IS_DIRECTORY : E.IS_STREAM);
  }

  /** The node of the directory `fd`. */
  directory(fd) {
    const handle = this.handle(fd);
    return handle.kind === DIRECTORY ? handle.node : fail(E.NOT_DIRECTORY);
  }

  /** Opens a handle of a file or directory under the lowest free descriptor. */
  open(handle) {
    const found = this.#handles.indexOf(undefined);
    const free = found < 0 ? this.#handles.length : found;
    if (free >= MAX_OPEN) fail(E.TOO_MANY_FILES);
    this.files.opened(handle.node);
    this.#handles[free] = handle;
    return free;
  }

  /** Closes `fd`. */
  close(fd) {
    const handle = this.handle(fd);
    this.#handles[fd] = undefined;
    if (handle.node !== undefined) this.files.closed(handle.node);
  }

  /** Fills `bytes` from the task's random stream. */
  randomness(bytes) {
    this.#random().fill(bytes);
  }
}
