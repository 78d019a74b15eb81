// Pictures into the raw pixels that a classifier takes, to the last bit as mygo_edge.bundle.pictures makes them with
// Pillow: grey by ITU-R 601 in 16 bits, then a box filter, rows first, in 22 bits.

const BITS = 22;

/**
 * @param {ImageData} picture
 * @param {{channels: number, height: number, width: number}} input
 * @returns {Uint8Array} [channels, height, width]
 */
export function pictureToPixels(picture, { channels, height, width }) {
  const { data } = picture, planes = [];
  for (let channel = 0; channel < channels; channel += 1) {
    const plane = new Uint8Array(picture.width * picture.height);
    for (let index = 0; index < plane.length; index += 1) {
      const at = 4 * index;
      plane[index] =
        channels === 1
          ? (data[at] * 19595 + data[at + 1] * 38470 + data[at + 2] * 7471 + 0x8000) >> 16
          : data[at + channel];
    }
    planes.push(resize(plane, picture.width, picture.height, width, height));
  }
  const pixels = new Uint8Array(channels * height * width);
  planes.forEach((plane, channel) => pixels.set(plane, channel * height * width));
  return pixels;
}

/** A plane of bytes [height, width] at another size. */
export function resize(plane, width, height, newWidth, newHeight) {
  let current = plane;
  if (newWidth !== width) current = along(current, height, width, 1, newWidth, coefficients(width, newWidth));
  if (newHeight !== height) {
    current = along(current, newWidth, height, newWidth, newHeight, coefficients(height, newHeight));
  }
  return current;
}

/** Filter lines of `size` bytes, `step` apart, into lines of `newSize`. step 1: rows; step = number of lines: columns. */
function along(plane, lines, size, step, newSize, weights) {
  const result = new Uint8Array(lines * newSize), rows = step === 1;
  for (let line = 0; line < lines; line += 1) {
    const from = rows ? line * size : line, to = rows ? line * newSize : line;
    weights.forEach(({ first, values }, place) => {
      let sum = 2 ** (BITS - 1);
      for (let index = 0; index < values.length; index += 1) sum += plane[from + (first + index) * step] * values[index];
      result[to + place * step] = Math.min(255, Math.max(0, Math.floor(sum / 2 ** BITS)));
    });
  }
  return result;
}

/** For every new place, the first old one that counts, and the weights from there on in fixed point. */
function coefficients(size, newSize) {
  const scale = size / newSize, stretch = Math.max(1, scale), support = 0.5 * stretch;
  return Array.from({ length: newSize }, (_, place) => {
    const centre = (place + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - support + 0.5));
    const end = Math.min(size, Math.trunc(centre + support + 0.5));
    const inside = Array.from({ length: end - first }, (_, index) => {
      const at = (index + first - centre + 0.5) / stretch;
      return at > -0.5 && at <= 0.5 ? 1 : 0;
    });
    const total = inside.reduce((sum, value) => sum + value, 0);
    return { first, values: inside.map((value) => Math.trunc(0.5 + (value / (total || 1)) * 2 ** BITS)) };
  });
}

/** Pixels [channels, height, width] as ImageData, to be shown. */
export function pixelsToPicture(pixels, { channels, height, width }) {
  const picture = new ImageData(width, height), size = height * width;
  for (let index = 0; index < size; index += 1) {
    for (let channel = 0; channel < 3; channel += 1) {
      picture.data[4 * index + channel] = pixels[(channels === 1 ? 0 : channel * size) + index];
    }
    picture.data[4 * index + 3] = 255;
  }
  return picture;
}
