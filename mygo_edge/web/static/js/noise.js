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
 * @param {{classes: number, latent: number, seed: bigint, stream: number, step: number}} which latent: a multiple of 4
 * @returns {{z: Float32Array, classIds: Uint32Array, decisions: Uint32Array}} z [n, latent], class ids [n], and two
 *   further words a sample [2, n]
 */
export function dreamNoise(first, n, { classes, latent, seed, stream, step }) {
  const key = [Number(seed & 0xffffffffn), Number((seed >> 32n) & 0xffffffffn)];
  const z = new Float32Array(n * latent), classIds = new Uint32Array(n), decisions = new Uint32Array(2 * n);
  for (let row = 0; row < n; row += 1) {
    const sample = first + row;
    const decided = philox([sample, 0, step, stream], key);
    classIds[row] = high(decided[0], classes); // multiply and shift (Lemire 2019)
    decisions[row] = decided[1];
    decisions[n + row] = decided[2];
    for (let block = 0; block < latent / 4; block += 1) {
      const [w0, w1, w2, w3] = philox([sample, block + 1, step, stream], key);
      z.set([...normalPair(w0, w1), ...normalPair(w2, w3)], row * latent + 4 * block);
    }
  }
  return { z, classIds, decisions };
}

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
  let total = f(x * coefficients.at(-1));
  for (const coefficient of coefficients.slice(0, -1).reverse()) total = f(f(total + coefficient) * x);
  return total;
}
