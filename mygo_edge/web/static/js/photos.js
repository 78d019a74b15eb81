// Photos into what a trunk takes, as mygo_edge.bundle.vision prepares them: resized and cut in one step, by Pillow's filters.

import { resized } from "./resampling.js";

const CHANNELS = 3;

/**
 * @param {ImageData} picture of any size
 * @param form the trunk's input as the manifest has it
 * @returns {Uint8Array} [height, width, 3]
 */
export function preparePhoto(picture, { size: [height, width], resize, crop, interpolation }) {
  let box;
  if (crop === "center" && resize) {
    const scale = resize / Math.min(picture.width, picture.height);
    const cut = [Math.min(width / scale, picture.width), Math.min(height / scale, picture.height)];
    const [left, top] = [(picture.width - cut[0]) / 2, (picture.height - cut[1]) / 2];
    box = [left, top, left + cut[0], top + cut[1]];
  }
  const photo = new Uint8Array(height * width * CHANNELS), plane = new Uint8Array(picture.width * picture.height);
  for (let channel = 0; channel < CHANNELS; channel += 1) {
    for (let index = 0; index < plane.length; index += 1) plane[index] = picture.data[4 * index + channel];
    const small = resized(plane, picture, { width, height }, interpolation, box);
    for (let index = 0; index < small.length; index += 1) photo[CHANNELS * index + channel] = small[index];
  }
  return photo;
}

/**
 * Prepared photos as the graph takes them.
 * @param {Uint8Array[]} photos
 * @param form as above
 * @param {boolean} floats whether the graph takes scaled float32; otherwise it takes the bytes
 * @returns {{type: string, data: Float32Array|Uint8Array, dims: number[]}}
 */
export function photoFeed(photos, { size: [height, width], mean, std, layout }, floats) {
  const size = height * width, planes = layout === "nchw";
  const data = new (floats ? Float32Array : Uint8Array)(photos.length * size * CHANNELS);
  const scale = Math.fround, means = mean.map(scale), deviations = std.map(scale);
  photos.forEach((photo, row) => {
    for (let index = 0; index < photo.length; index += 1) {
      const channel = index % CHANNELS, pixel = (index - channel) / CHANNELS;
      const place = row * size * CHANNELS + (planes ? channel * size + pixel : index);
      const value = photo[index];
      data[place] = floats ? scale(scale(scale(value / 255) - means[channel]) / deviations[channel]) : value;
    }
  });
  const dims = planes ? [photos.length, CHANNELS, height, width] : [photos.length, height, width, CHANNELS];
  return { type: floats ? "float32" : "uint8", data, dims };
}

/** Photos that are always the same: waves of different lengths and directions, a little noise. */
export function examplePhotos(n, { size: [height, width] }) {
  return Array.from({ length: n }, (_, photo) => {
    const pixels = new Uint8Array(height * width * CHANNELS);
    for (let place = 0; place < pixels.length; place += 1) {
      const channel = place % CHANNELS, column = Math.floor(place / CHANNELS) % width, row = Math.floor(place / CHANNELS / width);
      const wave = (photo * 3 + 2) * row + (channel * 2 + 1) * column + Math.floor((row * column) / (8 + 4 * photo));
      const grain = (row * 7919 + column * 104729 + channel * 1299709) % 61;
      pixels[place] = Math.min(255, Math.max(0, Math.abs((wave % 392) - 196) + grain));
    }
    return pixels;
  });
}

/** A prepared photo as ImageData, to be shown. */
export function photoToPicture(photo, { size: [height, width] }) {
  const picture = new ImageData(width, height);
  for (let index = 0; index < height * width; index += 1) {
    for (let channel = 0; channel < CHANNELS; channel += 1) picture.data[4 * index + channel] = photo[CHANNELS * index + channel];
    picture.data[4 * index + 3] = 255;
  }
  return picture;
}
