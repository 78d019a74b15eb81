// What a dream is made from, equal bit for bit to mygo_edge.kernels.noise.
//
// Everything there is IEEE 754 single precision, each operation rounded on its own. JavaScript computes in double
// precision; a sum, product, quotient or root of two floats that is rounded to double and then to single is the one
// rounded to single at once, because 53 >= 2 * 24 + 2 (Figueroa 1995). So: one operation, one Math.fround.

import { high, philox } from "./philox.js";

const f = Math.fround;
const factorial = (n) => (n < 2 ? 1 : n * factorial(n - 1));
const LN2 = f(Math.log(2));
const SQRT_HALF = f(Math.sqrt(0.5));
const TWO_PI = f(2 * Math.PI);
// Taylor coefficients, in double precision first, as Python computes them.
const LOG = [1 / 3, 1 / 5, 1 / 7, 1 / 9].map(f);
const SINE = [-1 / factorial(3), 1 / factorial(5), -1 / factorial(7), 1 / factorial(9)].map(f);
const COSINE = [-1 / 2, 1 / factorial(4), -1 / factorial(6), 1 / factorial(8), -1 / factorial(10)].map(f);

/**
 * Latent normals and class ids of `n` samples from `first`.
 * @param {{classes: number, latent: number, seed: bigint, stream: number, step: number}} which
 * @returns {{z: Float32Array, classIds: Uint32Array, decisions: Uint32Array}} z [n, latent], class ids [n], and two
 *   further words a sample [2, n]
 */
export function dreamNoise(first, n, which) {
  const { classes, latent, stream, step } = which, key = split(which.seed);
  const classIds = new Uint32Array(n), decisions = new Uint32Array(2 * n);
  for (let row = 0; row < n; row += 1) {
    const decided = philox([first + row, 0, step, stream], key);
    classIds[row] = high(decided[0], classes); // multiply and shift (Lemire 2019)
    decisions[row] = decided[1];
    decisions[n + row] = decided[2];
  }
  return { z: normals(first, n, 1, latent, which), classIds, decisions };
}

/** Further normals of the same samples, [n, width]: what each feature of a Gaussian's dream gets. */
export function featureNoise(first, n, which) {
  return normals(first, n, 1 + blocks(which.latent), which.width, which);
}

/** Normals of the blocks from `block` on, [n, width]. */
function normals(first, n, block, width, { seed, stream, step }) {
  const key = split(seed), found = new Float32Array(n * width);
  for (let row = 0; row < n; row += 1) {
    const own = found.subarray(row * width, (row + 1) * width);
    for (let index = 0; index < blocks(width); index += 1) {
      const [w0, w1, w2, w3] = philox([first + row, block + index, step, stream], key);
      const four = [...normalPair(w0, w1), ...normalPair(w2, w3)];
      own.set(four.slice(0, width - 4 * index), 4 * index);
    }
  }
  return found;
}

const split = (seed) => [Number(seed & 0xffffffffn), Number((seed >> 32n) & 0xffffffffn)];

/** Philox blocks of four words that so many normals take. */
const blocks = (normals) => Math.ceil(normals / 4);

/** Two independent standard normals from two words (Box and Muller 1958). */
export function normalPair(radiusWord, angleWord) {
  const radius = f(Math.sqrt(f(-2 * logUnit(openUnit(radiusWord)))));
  const [cosine, sine] = turn(openUnit(angleWord));
  return [f(radius * cosine), f(radius * sine)];
}

/** Twice the midpoint of a word's cell among 2^23. */
const openUnit = (word) => (word >>> 9) * 2 + 1;

/** ln(odd / 2^24), for odd integers in (0, 2^24). */
function logUnit(odd) {
  const bits = 32 - Math.clz32(odd); // odd = mantissa * 2^bits, mantissa in [1/2, 1)
  let mantissa = odd / 2 ** bits, exponent = bits - 24;
  if (mantissa < SQRT_HALF) {
    mantissa *= 2;
    exponent -= 1;
  }
  const s = f(f(mantissa - 1) / f(mantissa + 1));
  const twice = s * 2;
  const series = polynomial(LOG, f(s * s));
  return f(f(exponent * LN2) + f(twice + f(twice * series)));
}

/** Cosine and sine of 2 pi odd / 2^24: reduced to an eighth of a turn in integers, which is exact. */
function turn(odd) {
  const quarter = (odd + (1 << 21)) >> 22;
  const angle = f(((odd - quarter * 2 ** 22) / 2 ** 24) * TWO_PI);
  const square = f(angle * angle);
  const sine = f(angle + f(angle * polynomial(SINE, square)));
  const cosine = f(1 + polynomial(COSINE, square));
  const [first, second] = quarter & 1 ? [sine, cosine] : [cosine, sine];
  return [(quarter + 1) & 2 ? -first : first, quarter & 2 ? -second : second];
}

/** c[0] x + c[1] x^2 + ..., by Horner's rule. */
function polynomial(coefficients, x) {
  let total = 0;
  for (let place = coefficients.length - 1; place >= 0; place -= 1) total = f(f(total + coefficients[place]) * x);
  return total;
}
