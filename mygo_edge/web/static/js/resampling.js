// Resize planes of bytes as Pillow does: a filter along rows, then along columns, each in fixed point and rounded. Versions
// of Pillow that go down before across, where that is less work, differ by the rounding in between: by one level, and more
// only where a sharp filter overshoots black or white.

const BITS = 22; // of a weight's fraction
const f = Math.fround; // Pillow keeps the box in single precision

const sinc = (x) => (x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x));

/** How far a filter reaches from its centre, in pixels of the result, and its value there. */
const FILTERS = {
  box: [0.5, (x) => (x > -0.5 && x <= 0.5 ? 1 : 0)],
  bilinear: [1, (x) => Math.max(0, 1 - Math.abs(x))],
  hamming: [1, (x) => (x === 0 ? 1 : Math.abs(x) >= 1 ? 0 : sinc(Math.abs(x)) * (0.54 + 0.46 * Math.cos(Math.PI * Math.abs(x))))],
  bicubic: [2, (x) => cubic(Math.abs(x))],
  lanczos: [3, (x) => (x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0)],
};

function cubic(x) {
  const a = -0.5;
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}

/**
 * A part of a plane of bytes [height, width] at another size.
 * @param {Uint8Array} plane
 * @param {{width: number, height: number}} from the plane's size
 * @param {{width: number, height: number}} to the size wanted
 * @param {string} filter one of Pillow's: nearest, box, bilinear, hamming, bicubic or lanczos
 * @param {number[]} box left, top, right, bottom of the part, which need not be whole numbers
 * @returns {Uint8Array}
 */
export function resized(plane, from, to, filter = "box", box = [0, 0, from.width, from.height]) {
  const [left, top, right, bottom] = box.map(f);
  const whole = left === 0 && top === 0 && right === from.width && bottom === from.height;
  if (whole && to.width === from.width && to.height === from.height) return plane.slice();
  if (filter === "nearest") return nearest(plane, from, to, [left, top, right, bottom]);
  let [current, rows, firstRow] = [plane, from.height, 0];
  const down = weights(from.height, top, bottom, to.height, filter);
  if (to.width !== from.width || left !== 0 || right !== to.width) {
    firstRow = down.first[0]; // rows that no result needs are left out
    rows = down.first[to.height - 1] + down.count[to.height - 1] - firstRow;
    const across = weights(from.width, left, right, to.width, filter);
    current = filtered(plane.subarray(firstRow * from.width), rows, [from.width, 1], across, [to.width, 1]);
  }
  if (to.height === from.height && top === 0 && bottom === to.height) return current;
  for (let place = 0; place < to.height; place += 1) down.first[place] -= firstRow;
  return filtered(current, to.width, [1, to.width], down, [1, to.width]);
}

/** Filter so many lines. steps: from a line to the next, and from a value to the next, before and after. */
function filtered(plane, lines, [lineStep, step], { first, count, values, taps }, [newLineStep, newStep]) {
  const result = new Uint8Array(lines * first.length);
  for (let line = 0; line < lines; line += 1) {
    for (let place = 0; place < first.length; place += 1) {
      let sum = 2 ** (BITS - 1), at = line * lineStep + first[place] * step;
      for (let tap = place * taps, end = tap + count[place]; tap < end; tap += 1, at += step) sum += plane[at] * values[tap];
      result[line * newLineStep + place * newStep] = Math.min(255, Math.max(0, Math.floor(sum / 2 ** BITS)));
    }
  }
  return result;
}

/** For every new place: the first old one that counts, how many do, and their weights in fixed point, `taps` a place. */
function weights(size, start, end, newSize, filter) {
  const [reach, value] = FILTERS[filter];
  const scale = f(end - start) / newSize, stretch = Math.max(1, scale), support = reach * stretch;
  const taps = 2 * Math.ceil(support) + 1;
  const first = new Int32Array(newSize), count = new Int32Array(newSize), values = new Float64Array(newSize * taps);
  for (let place = 0; place < newSize; place += 1) {
    const centre = start + (place + 0.5) * scale;
    first[place] = Math.max(0, Math.trunc(centre - support + 0.5));
    count[place] = Math.min(size, Math.trunc(centre + support + 0.5)) - first[place];
    const own = values.subarray(place * taps, place * taps + count[place]);
    let total = 0;
    for (let tap = 0; tap < own.length; tap += 1) total += own[tap] = value((tap + first[place] - centre + 0.5) * (1 / stretch));
    for (let tap = 0; tap < own.length; tap += 1) {
      const exact = (own[tap] / (total || 1)) * 2 ** BITS;
      own[tap] = Math.trunc(exact + (exact < 0 ? -0.5 : 0.5));
    }
  }
  return { first, count, values, taps };
}

/** The pixel under each new pixel's centre. */
function nearest(plane, from, to, [left, top, right, bottom]) {
  const places = (start, end, size) => {
    const step = (end - start) / size, found = new Int32Array(size);
    let at = start + step * 0.5;
    for (let place = 0; place < size; place += 1, at += step) found[place] = Math.trunc(at);
    return found;
  };
  const columns = places(left, right, to.width), rows = places(top, bottom, to.height);
  const result = new Uint8Array(to.width * to.height);
  rows.forEach((row, y) => columns.forEach((column, x) => {
    result[y * to.width + x] = plane[row * from.width + column];
  }));
  return result;
}
