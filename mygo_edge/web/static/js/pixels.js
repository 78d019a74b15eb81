// Pictures into the raw pixels that a classifier takes, to the last bit as mygo_edge.bundle.pictures makes them with
// Pillow: grey by ITU-R 601 in 16 bits, then a box filter.

import { resized } from "./resampling.js";

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
    planes.push(resized(plane, picture, { width, height }));
  }
  const pixels = new Uint8Array(channels * height * width);
  planes.forEach((plane, channel) => pixels.set(plane, channel * height * width));
  return pixels;
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
