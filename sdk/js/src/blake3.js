// BLAKE3: hash, keyed hash, and output of any length.
//
// The input is cut into chunks of 1,024 bytes, each hashed block by block; chunks are the leaves of
// a binary tree whose left subtrees are full. The last compression, at the root, is repeated with a
// counter to give as many bytes as are wanted.

const IV = [0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19];
const ORDER = [2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8];
// Columns, then diagonals, of the state seen as a square.
const QUARTERS = [
  [0, 4, 8, 12], [1, 5, 9, 13], [2, 6, 10, 14], [3, 7, 11, 15],
  [0, 5, 10, 15], [1, 6, 11, 12], [2, 7, 8, 13], [3, 4, 9, 14],
];
const ROUNDS = 7;
const BLOCK = 64;
const CHUNK = 1024;

const CHUNK_START = 1;
const CHUNK_END = 2;
const PARENT = 4;
const ROOT = 8;
const KEYED = 16;

const rotate = (word, by) => (word >>> by) | (word << (32 - by));

function mix(state, [a, b, c, d], x, y) {
  state[a] = state[a] + state[b] + x;
  state[d] = rotate(state[d] ^ state[a], 16);
  state[c] = state[c] + state[d];
  state[b] = rotate(state[b] ^ state[c], 12);
  state[a] = state[a] + state[b] + y;
  state[d] = rotate(state[d] ^ state[a], 8);
  state[c] = state[c] + state[d];
  state[b] = rotate(state[b] ^ state[c], 7);
}

/** One compression: 16 words, of which the first 8 are a chaining value. */
function compress({ chain, words, length, flags }, counter) {
  const state = Uint32Array.of(...chain, ...IV.slice(0, 4), counter, counter / 2 ** 32, length, flags);
  let message = words;
  for (let round = 0; round < ROUNDS; round += 1) {
    QUARTERS.forEach((quarter, at) => mix(state, quarter, message[2 * at], message[2 * at + 1]));
    const before = message;
    message = ORDER.map((from) => before[from]);
  }
  for (let at = 0; at < 8; at += 1) {
    state[at] ^= state[at + 8];
    state[at + 8] ^= chain[at];
  }
  return state;
}

/** The words of a block, padded with zeros. */
function wordsOf(bytes) {
  const words = new Array(16).fill(0);
  bytes.forEach((byte, at) => {
    words[at >> 2] |= byte << (8 * (at & 3));
  });
  return words;
}

/** The last compression of a chunk, not yet done. */
function chunk(bytes, counter, key, mode) {
  let chain = key;
  let flags = mode | CHUNK_START;
  let at = 0;
  for (; bytes.length - at > BLOCK; at += BLOCK) {
    const words = wordsOf(bytes.subarray(at, at + BLOCK));
    chain = compress({ chain, words, length: BLOCK, flags }, counter).subarray(0, 8);
    flags = mode;
  }
  const rest = bytes.subarray(at);
  return { chain, words: wordsOf(rest), length: rest.length, flags: flags | CHUNK_END, counter };
}

/** The last compression of the tree over `bytes`, whose first chunk has this number. */
function tree(bytes, counter, key, mode) {
  if (bytes.length <= CHUNK) return chunk(bytes, counter, key, mode);
  const chunks = Math.ceil(bytes.length / CHUNK);
  const left = 2 ** (31 - Math.clz32(chunks - 1));
  const halves = [
    tree(bytes.subarray(0, left * CHUNK), counter, key, mode),
    tree(bytes.subarray(left * CHUNK), counter + left, key, mode),
  ];
  const words = halves.flatMap((half) => [...compress(half, half.counter).subarray(0, 8)]);
  return { chain: key, words, length: BLOCK, flags: mode | PARENT, counter: 0 };
}

/** The output of one input, as a stream of any length. */
export class Blake3 {
  #root;
  #at = 0;
  #block = new Uint8Array(0);

  /** `key`, if given, has 32 bytes. */
  constructor(input, key) {
    const words = key ? wordsOf(key).slice(0, 8) : IV;
    const root = tree(input, 0, words, key ? KEYED : 0);
    this.#root = { ...root, flags: root.flags | ROOT };
  }

  /** Fills `target` with the next bytes. */
  fill(target) {
    for (let done = 0; done < target.length; ) {
      const within = this.#at % BLOCK;
      if (within === 0) this.#block = this.#next();
      const count = Math.min(BLOCK - within, target.length - done);
      target.set(this.#block.subarray(within, within + count), done);
      this.#at += count;
      done += count;
    }
  }

  #next() {
    const words = compress(this.#root, this.#at / BLOCK);
    return Uint8Array.from({ length: BLOCK }, (_, at) => words[at >> 2] >>> (8 * (at & 3)));
  }
}

/** `length` bytes of BLAKE3 over `input`. */
export function blake3(input, length = 32, key = undefined) {
  const digest = new Uint8Array(length);
  new Blake3(input, key).fill(digest);
  return digest;
}
