// Small modules, byte by byte, for tests.

const utf8 = (text) => [...new TextEncoder().encode(text)];
const text = (value) => [utf8(value).length, ...utf8(value)];

/** LEB128 of a small unsigned number. */
export const leb = (value) => (value < 128 ? [value] : [(value & 127) | 128, ...leb(value >> 7)]);

const section = (id, items) => {
  const body = [...leb(items.length), ...items.flat()];
  return [id, ...leb(body.length), ...body];
};

const body = ([locals, ...code]) => {
  const whole = [...locals, ...code, 0x0b];
  return [...leb(whole.length), ...whole];
};

export const I32 = 0x7f;
export const I64 = 0x7e;
export const F32 = 0x7d;
export const FUNCREF = 0x70;
export const NO_LOCALS = [0];
export const KIND = { function: 0, table: 1, memory: 2, global: 3 };

/** A module of the parts that are given. */
export function module({ types = [[[], []]], imports = [], functions = [], tables = [], memories = [], globals = [], exports = [], elements = [], code = [], data = [] }) {
  const parts = [
    [1, types.map(([from, to]) => [0x60, from.length, ...from, to.length, ...to])],
    [2, imports.map(([name, type]) => [...text("wasi_snapshot_preview1"), ...text(name), 0, type])],
    [3, functions.map((type) => [type])],
    [4, tables.map(([min, max]) => [FUNCREF, 1, min, max])],
    [5, memories.map((min) => [0, min])],
    [6, globals.map((type) => [type, 1, type === I64 ? 0x42 : 0x41, 0, 0x0b])],
    [7, exports.map(([name, kind, index]) => [...text(name), kind, index])],
    [9, elements],
    [10, code.map(body)],
    [11, data],
  ];
  const bytes = [0, 0x61, 0x73, 0x6d, 1, 0, 0, 0];
  for (const [id, items] of parts) if (items.length > 0) bytes.push(...section(id, items));
  return new WebAssembly.Module(Uint8Array.from(bytes));
}

/**
 * A module with all that a metered one has; `start` is the code of `_start`, function 2 after imports
 * `proc_exit` and `fd_write`. Function 3 is `tallymill:finish`. Globals are in the order of `NAMES`.
 */
export function metered(start, extra = {}) {
  const NAMES = ["mark", "count", "limit", "stack", "pages", "entries", "cause", "integral", "grown"];
  return module({
    types: [[[], []], [[I32], []], [[I32, I32, I32, I32], [I32]], [[I64], []], [[], [I32]]],
    imports: [["proc_exit", 1], ["fd_write", 2]],
    functions: [0, 0],
    tables: [[1, 1]],
    memories: [1],
    globals: [I64, I64, I64, I32, I32, I32, I32, I64, I64],
    exports: [
      ...NAMES.map((name, index) => [`tallymill:${name}`, KIND.global, index]),
      ["tallymill:hooks", KIND.table, 0],
      ["tallymill:finish", KIND.function, 3],
      ["_start", KIND.function, 2],
      ["memory", KIND.memory, 0],
    ],
    code: [[NO_LOCALS, ...start], [NO_LOCALS]],
    ...extra,
  });
}
