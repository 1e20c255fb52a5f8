// Error codes of WASI preview 1, those that these host functions answer.

export const BAD_FD = 8;
export const EXISTS = 20;
export const FAULT = 21;
export const ILLEGAL_SEQUENCE = 25;
export const INVALID = 28;
export const IS_DIRECTORY = 31;
export const TOO_MANY_FILES = 33;
export const NAME_TOO_LONG = 37;
export const NO_ENTRY = 44;
export const NO_SPACE = 51;
export const NOT_OFFERED = 52;
export const NOT_DIRECTORY = 54;
export const NOT_EMPTY = 55;
export const READ_ONLY = 69;
export const IS_STREAM = 70;
export const NOT_CAPABLE = 76;

/** A call that answers an error code: thrown within host functions, never seen by the engine. */
export class Errno {
  constructor(code) {
    this.code = code;
  }
}

/** Ends a host function with an error code. */
export function fail(code) {
  throw new Errno(code);
}
