// Philox4x32-10 (Salmon et al. 2011), as mygo_edge.kernels.philox has it: unsigned 32-bit words in and out.

const MULTIPLIERS = [0xd2511f53, 0xcd9e8d57]; // Random123's PHILOX_M4x32_0 and _1
const WEYL = [0x9e3779b9, 0xbb67ae85]; // Random123's PHILOX_W32_0 and _1
const ROUNDS = 10;

/** The high 32 bits of the product of two words. A number holds 53 bits, so it is put together from halves. */
export function high(a, b) {
  const a0 = a & 0xffff, a1 = a >>> 16, b0 = b & 0xffff, b1 = b >>> 16;
  const middle = a1 * b0 + ((a0 * b0) >>> 16); // below 2^32
  const other = a0 * b1 + (middle & 0xffff); // below 2^32
  return (a1 * b1 + Math.floor(middle / 65536) + Math.floor(other / 65536)) >>> 0;
}

/** Four random words of a counter (four words) and a key (two words). */
export function philox(counter, key) {
  let [c0, c1, c2, c3] = counter;
  let [k0, k1] = key;
  for (let round = 0; round < ROUNDS; round += 1) {
    const high0 = high(c0, MULTIPLIERS[0]), low0 = Math.imul(c0, MULTIPLIERS[0]) >>> 0;
    const high1 = high(c2, MULTIPLIERS[1]), low1 = Math.imul(c2, MULTIPLIERS[1]) >>> 0;
    [c0, c1, c2, c3] = [(high1 ^ c1 ^ k0) >>> 0, low1, (high0 ^ c3 ^ k1) >>> 0, low0];
    k0 = (k0 + WEYL[0]) >>> 0;
    k1 = (k1 + WEYL[1]) >>> 0;
  }
  return [c0, c1, c2, c3];
}
