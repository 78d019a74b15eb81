// Fit a new head on frozen features beside heads that stay as they are: mygo_edge.device.fitting in a browser.

import { dot } from "./matrices.js";
import { softmax } from "./version.js";

const SPARE = 0.1, LEAST = 1e-3, STEPS = 400, TOLERANCE = 1e-5; // as on a device

/**
 * Two softmax regressions at once, by accelerated gradient descent (Nesterov 1983): the new classes among each other,
 * and all classes, old logits fixed, on the new images and on dreams of the old tasks.
 * @param {{features: Float32Array[], labels: number[], old: Float32Array[]}} fresh of the new images; labels count the
 *   new classes; old: the old heads' logits
 * @param {{features: Float32Array[], labels: number[], old: Float32Array[]}} dreams labels count the old classes
 * @param {number} classes new ones
 * @returns {{weight: Float32Array[], bias: Float32Array}} a row a class
 */
export function fitHead(fresh, dreams, classes) {
  const n = fresh.labels.length, old = fresh.old[0].length, width = fresh.features[0].length;
  const every = [...fresh.features, ...dreams.features], fixed = [...fresh.old, ...dreams.old];
  const target = [...fresh.labels.map((label) => label + old), ...dreams.labels];
  const { mean, std } = moments(every, width);
  const x = every.map((row) => {
    const line = new Float64Array(width + 1).fill(1); // the last column is the bias's
    for (let index = 0; index < width; index += 1) line[index] = (row[index] - mean[index]) / std[index];
    return line;
  });
  const share = classShares(target), sum = share.slice(0, n).reduce((total, value) => total + value, 0);
  const own = share.slice(0, n).map((value) => value / sum);
  const penalty = new Float64Array(width + 1).fill(Math.max(LEAST, SPARE / n));
  penalty[width] = 1e-6; // of the bias: next to none
  const steepness = largestEigenvalue(x, share) / 2 + largestEigenvalue(x.slice(0, n), own) / 2;
  const step = 1 / (steepness + Math.max(...penalty));
  let weight = zeros(classes, width + 1), ahead = zeros(classes, width + 1), momentum = 1;
  for (let round = 0; round < STEPS; round += 1) {
    const gradient = ahead.map((row) => row.map((value, index) => value * penalty[index]));
    x.forEach((row, place) => {
      const logits = ahead.map((line) => dot(line, row));
      const unknown = softmax([...fixed[place], ...logits]).slice(old), known = place < n ? softmax(logits) : [];
      for (let label = 0; label < classes; label += 1) {
        const hit = target[place] === old + label ? 1 : 0;
        let slope = (unknown[label] - hit) * share[place];
        if (place < n) slope += (known[label] - hit) * own[place];
        const line = gradient[label];
        for (let index = 0; index <= width; index += 1) line[index] += slope * row[index];
      }
    });
    const moved = ahead.map((row, label) => row.map((value, index) => value - step * gradient[label][index]));
    const faster = (1 + Math.sqrt(1 + 4 * momentum ** 2)) / 2, push = (momentum - 1) / faster;
    ahead = moved.map((row, label) => row.map((value, index) => value + push * (value - weight[label][index])));
    [weight, momentum] = [moved, faster];
    if (Math.max(...gradient.map((row) => Math.max(...row.map(Math.abs)))) < TOLERANCE) break;
  }
  const scaled = weight.map((row) => row.slice(0, width).map((value, index) => value / std[index]));
  return {
    weight: scaled.map((row) => Float32Array.from(row)),
    bias: Float32Array.from(weight, (row, label) => row[width] - dot(scaled[label], mean)),
  };
}

function moments(rows, width) {
  const mean = new Float64Array(width), std = new Float64Array(width);
  for (const row of rows) for (let index = 0; index < width; index += 1) mean[index] += row[index] / rows.length;
  for (const row of rows) for (let index = 0; index < width; index += 1) std[index] += (row[index] - mean[index]) ** 2 / rows.length;
  const least = 1e-6 * Math.max(1, ...mean.map(Math.abs));
  return { mean, std: std.map((value) => (Math.sqrt(value) > least ? Math.sqrt(value) : Infinity)) }; // a constant says nothing
}

/** The weight of every sample: all classes that occur weigh the same, and everything 1. */
function classShares(target) {
  const counts = new Map();
  for (const label of target) counts.set(label, (counts.get(label) ?? 0) + 1);
  return target.map((label) => 1 / (counts.get(label) * counts.size));
}

/** Of the weighted second moments of the rows, by power iteration, and a little more, so that a step is never too long. */
function largestEigenvalue(x, share) {
  let vector = Float64Array.from(x[0], (_, index) => 1 + (index % 7)), value = 0;
  for (let round = 0; round < 50; round += 1) {
    const next = new Float64Array(vector.length);
    x.forEach((row, place) => {
      const factor = share[place] * dot(row, vector);
      for (let index = 0; index < next.length; index += 1) next[index] += factor * row[index];
    });
    value = Math.sqrt(dot(next, next));
    vector = next.map((entry) => entry / (value || 1));
  }
  return 1.05 * value;
}

const zeros = (rows, columns) => Array.from({ length: rows }, () => new Float64Array(columns));
