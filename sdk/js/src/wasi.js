// WASI preview 1 as a pure function of module, input and manifest (docs/protocol/profile.md).
//
// One table lists every function a guest may import, with its parameters: `i` is 32 bits, `l` 64.

import { Errno, NOT_OFFERED } from "./errno.js";
import { Memory } from "./memory.js";
import * as paths from "./paths.js";
import * as process from "./process.js";
import * as streams from "./streams.js";

/** Name of the module all functions are imported from. */
const MODULE = "wasi_snapshot_preview1";

const WORKING = {
  args_get: ["ii", process.argsGet],
  args_sizes_get: ["ii", process.argsSizesGet],
  environ_get: ["ii", process.environGet],
  environ_sizes_get: ["ii", process.environSizesGet],
  clock_res_get: ["ii", process.clockResGet],
  clock_time_get: ["ili", process.clockTimeGet],
  random_get: ["ii", process.randomGet],
  sched_yield: ["", process.schedYield],
  fd_read: ["iiii", streams.fdRead],
  fd_write: ["iiii", streams.fdWrite],
  fd_pread: ["iiili", streams.fdPread],
  fd_pwrite: ["iiili", streams.fdPwrite],
  fd_seek: ["ilii", streams.fdSeek],
  fd_tell: ["ii", streams.fdTell],
  fd_close: ["i", streams.fdClose],
  fd_sync: ["i", streams.fdSync],
  fd_datasync: ["i", streams.fdSync],
  fd_fdstat_get: ["ii", paths.fdFdstatGet],
  fd_fdstat_set_flags: ["ii", paths.fdFdstatSetFlags],
  fd_filestat_get: ["ii", paths.fdFilestatGet],
  fd_filestat_set_size: ["il", paths.fdFilestatSetSize],
  fd_prestat_get: ["ii", paths.fdPrestatGet],
  fd_prestat_dir_name: ["iii", paths.fdPrestatDirName],
  fd_readdir: ["iiili", paths.fdReaddir],
  path_open: ["iiiiillii", paths.pathOpen],
  path_filestat_get: ["iiiii", paths.pathFilestatGet],
  path_create_directory: ["iii", paths.pathCreateDirectory],
  path_remove_directory: ["iii", paths.pathRemoveDirectory],
  path_unlink_file: ["iii", paths.pathUnlinkFile],
  path_rename: ["iiiiii", paths.pathRename],
};

const REFUSED = {
  fd_advise: "illi",
  fd_allocate: "ill",
  fd_fdstat_set_rights: "ill",
  fd_filestat_set_times: "illi",
  fd_renumber: "ii",
  path_filestat_set_times: "iiiilli",
  path_link: "iiiiiii",
  path_readlink: "iiiiii",
  path_symlink: "iiiii",
  poll_oneoff: "iiii",
  proc_raise: "i",
  sock_accept: "iii",
  sock_recv: "iiiiii",
  sock_send: "iiiii",
  sock_shutdown: "ii",
};

/** Every import on offer, with the types of its parameters. */
export const IMPORTS = Object.freeze({
  ...Object.fromEntries(Object.entries(WORKING).map(([name, [types]]) => [name, types])),
  ...REFUSED,
  proc_exit: "i",
});

/** As an unsigned number or BigInt; the engine hands integers over as signed ones. */
function unsigned(value) {
  return typeof value === "bigint" ? BigInt.asUintN(64, value) : value >>> 0;
}

/** What a function of the table looks like to the engine. */
function imported(run, guest, memory) {
  return (...values) => {
    try {
      run(guest, new Memory(memory()), ...values.map(unsigned));
      return 0;
    } catch (error) {
      if (error instanceof Errno) return error.code;
      throw error;
    }
  };
}

/** The imports of one run. `memory` answers the bytes of the guest's memory as it is now. */
export function importsFor(guest, memory) {
  const functions = {};
  for (const [name, [, run]] of Object.entries(WORKING)) functions[name] = imported(run, guest, memory);
  for (const name of Object.keys(REFUSED)) functions[name] = () => NOT_OFFERED;
  functions.proc_exit = imported(process.procExit, guest, memory);
  return { [MODULE]: functions };
}
