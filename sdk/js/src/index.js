// The JavaScript host: everything it takes to run a metered module where there is a WebAssembly
// engine and nothing else. Plain modules, no dependencies, nothing that only Node has.

export { blake3, Blake3 } from "./blake3.js";
export { runTask, VOID } from "./run.js";
export { IMPORTS } from "./wasi.js";
export { OUTCOME, TRAP } from "./outcome.js";
