// One task, from a fresh instance to its result.

import { Guest } from "./guest.js";
import { asHook, CAUSE, EXPORT, flushed, MAX_LIMIT, memoryFuel, STACK_BUDGET, stopped } from "./meter.js";
import { Ending, OUTCOME, TRAP, trapOf } from "./outcome.js";
import { importsFor } from "./wasi.js";

const PAGE = 65_536n;
const MAX_PAGES = 65_536n;
const MAX_ENTRIES = 0xffffffffn;
const NOTHING = new Uint8Array(0);

/** Why a run says nothing about the guest. */
export const VOID = Object.freeze({
  NATIVE_OVERFLOW: "native-overflow",
  GROWTH_REFUSED: "growth-refused",
  OTHER: "other",
});

class Void {
  constructor(cause, detail) {
    this.cause = cause;
    this.detail = detail;
  }
}

const least = (a, b) => (a < b ? a : b);

/**
 * Runs one task of a metered module.
 *
 * `info` is what the meter says of the module: `{memory: {min}, table: {min}}`, each absent or null
 * if the module has none. A task is `{limits, seed, index, input, argv, environment, files}`: limits
 * are BigInt, seed and input bytes, environment pairs of texts, files `{name, bytes}`. `mayContinue`
 * is asked once per slice with the fuel so far; it also gets the instance's exports.
 *
 * Answers `{outcome: [kind, code], output, log, fuel, peakMemory, memoryFuel}`, or
 * `{void: {cause, detail}}` for a run that ended for a reason that is not the guest's.
 */
export function runTask(module, info, task, mayContinue = () => true) {
  const pages = least(task.limits.memory / PAGE, MAX_PAGES);
  const entries = least(task.limits.table, MAX_ENTRIES);
  if (BigInt(info.memory?.min ?? 0) > pages || BigInt(info.table?.min ?? 0) > entries) {
    return {
      outcome: [OUTCOME.MEMORY_EXCEEDED, 0],
      fuel: 0n,
      peakMemory: 0n,
      memoryFuel: 0n,
      output: NOTHING,
      log: NOTHING,
    };
  }
  return new Run(module, info, task, { pages, entries }, mayContinue).result();
}

class Run {
  #exports;

  constructor(module, info, task, extents, mayContinue) {
    this.module = module;
    this.info = info;
    this.limits = task.limits;
    this.extents = extents;
    this.mayContinue = mayContinue;
    this.guest = new Guest(task);
  }

  result() {
    try {
      const [outcome, fuel] = this.#end();
      const peakMemory = this.#memorySize();
      return {
        outcome,
        fuel,
        peakMemory,
        memoryFuel: memoryFuel(this.#exports, peakMemory / PAGE, fuel),
        output: this.guest.output.view(),
        log: this.guest.log.view(),
      };
    } catch (error) {
      if (error instanceof Void) return { void: { cause: error.cause, detail: error.detail } };
      throw error;
    }
  }

  /** Outcome and fuel. */
  #end() {
    try {
      this.#drive();
    } catch (error) {
      return this.#judge(error);
    }
    return [[OUTCOME.EXITED, 0], flushed(this.#exports)];
  }

  /** Everything that may end in an exception of guest, engine or host. */
  #drive() {
    const imports = importsFor(this.guest, () => this.#memory());
    const { exports } = new WebAssembly.Instance(this.module, imports);
    this.#exports = exports;
    this.#arm(exports);
    for (const name of [EXPORT.START, "_start", EXPORT.FINISH]) {
      if (name === EXPORT.START && !exports[name]) continue;
      exports[EXPORT.STACK].value = Number(least(this.limits.stack, BigInt(STACK_BUDGET)));
      exports[name]();
    }
  }

  /** Tells the module its limits and gives it the hook. */
  #arm(exports) {
    exports[EXPORT.LIMIT].value = this.#fuelLimit();
    exports[EXPORT.PAGES].value = Number(this.extents.pages);
    exports[EXPORT.ENTRIES].value = Number(this.extents.entries) | 0;
    const hook = asHook((fuel) => {
      if (!this.mayContinue(fuel, exports)) throw new Ending(OUTCOME.STOPPED, 0);
    });
    exports[EXPORT.HOOKS].set(0, hook);
  }

  #fuelLimit() {
    return least(this.limits.fuel, MAX_LIMIT);
  }

  #memory() {
    const memory = this.#exports?.memory;
    return memory instanceof WebAssembly.Memory ? new Uint8Array(memory.buffer) : NOTHING;
  }

  /** Memory never shrinks: what it has now is the most it had. */
  #memorySize() {
    if (!this.info.memory) return 0n;
    if (!this.#exports) return BigInt(this.info.memory.min) * PAGE;
    const size = this.#memory().length;
    if (size === 0 && !this.#exports.memory) throw new Void(VOID.OTHER, "the module's memory cannot be seen");
    return BigInt(size);
  }

  /** Outcome and fuel of a run that did not return. */
  #judge(error) {
    const limit = this.#fuelLimit();
    const fuel = this.#exports ? flushed(this.#exports) : 0n;
    if (error instanceof Ending) return [[error.kind, error.code], least(fuel, limit)];
    const cause = this.#exports ? this.#exports[EXPORT.CAUSE].value : CAUSE.NONE;
    return [outcomeOf(cause, error), stopped(cause, fuel, limit)];
  }
}

function outcomeOf(cause, error) {
  switch (cause) {
    case CAUSE.EXHAUSTED:
      return [OUTCOME.FUEL_EXHAUSTED, 0];
    case CAUSE.STACK_OVERFLOW:
      return [OUTCOME.STACK_EXHAUSTED, 0];
    case CAUSE.UNREACHABLE:
      return [OUTCOME.TRAPPED, TRAP.UNREACHABLE];
    case CAUSE.NONE:
      return [OUTCOME.TRAPPED, engineTrap(error)];
    case CAUSE.GROWTH:
      throw new Void(VOID.GROWTH_REFUSED, "the engine refused a growth within the limits");
    default:
      throw new Void(VOID.OTHER, `the module stopped itself (${cause}): ${error}`);
  }
}

/** The trap of the engine; what is not the guest's doing makes the run void. */
function engineTrap(error) {
  if (error instanceof RangeError && /stack/i.test(error.message)) {
    throw new Void(VOID.NATIVE_OVERFLOW, "before the meter's limit");
  }
  const trap = trapOf(error);
  if (trap === undefined) throw new Void(VOID.OTHER, `${error?.name}: ${error?.message ?? error}`);
  return trap;
}
