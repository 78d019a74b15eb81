// The files of a Gaussian memory, as mygo_edge.bundle.gaussian_files, own_covariance and memories have them.

import { require } from "./errors.js";
import { OwnCovariances, PowerTransform } from "./gaussians.js";
import { addTo, dot, matrix, rowOf, times } from "./matrices.js";
import { fromHalf, readNpz, toHalf, writeNpz } from "./npz.js";
import { base64, sealed } from "./sealed.js";

const TINY = 1e-12;

/** What all tasks share: {factor, diagonal, transform, spread}. */
export function readShared(bytes, where) {
  const arrays = readNpz(bytes, where), factor = rowsOf(arrays, "factor", "scale", where);
  const diagonal = arrays.get("diagonal"), numbers = arrays.get("numbers");
  const fits = diagonal?.kind === "<f4" && diagonal.data.length === factor.columns && numbers?.kind === "<f8" && numbers.data.length === 5;
  require(fits && diagonal.data.every((value) => value > 0 && value < Infinity), `${where} holds no variances.`);
  const [power, signed, normalised, , spread] = numbers.data;
  require(power >= 0.05 && power <= 4 && spread >= 0 && spread < Infinity, `${where} holds numbers out of range.`);
  return { factor, diagonal: diagonal.data, transform: new PowerTransform(power, signed === 1, normalised === 1), spread };
}

/** The means of a task's classes: {means: Float32Array[], counts: number[]}. */
export function readMeans(bytes, where, features, classes) {
  const arrays = readNpz(bytes, where), means = rowsOf(arrays, "means", "scale", where), counts = arrays.get("counts");
  require(means.rows === classes && means.columns === features, `${where} does not fit the manifest.`);
  require(counts?.kind === "<i8" && counts.data.length === classes && counts.data.every((count) => count > 0n), `${where} counts no images.`);
  return { means: Array.from({ length: classes }, (_, row) => rowOf(means, row)), counts: Array.from(counts.data, Number) };
}

/** Rows of the classifier as the box sends them, `mygo_edge.bundle.rows`: {rows: Float32Array[], spread}. */
export function readRows(bytes, where, features, classes) {
  const arrays = readNpz(bytes, where), spread = arrays.get("spread");
  const rows = fromLevels(arrays, "rows", where, features, classes);
  require(spread?.kind === "<f8" && spread.data.length === 1 && spread.data[0] >= 0 && spread.data[0] < Infinity, `${where} lacks the spread.`);
  return { rows, spread: spread.data[0] };
}

/** What says which of a task's classes an input is, `mygo_edge.bundle.wake_head`: {weight: Float32Array[], bias}. */
export function readHead(bytes, where, features, classes) {
  const arrays = readNpz(bytes, where), weight = fromLevels(arrays, "weights", where, features, classes);
  return { weight, bias: bounded(arrays, "bias", where, classes) };
}

/** Rows of roots in int8 with a scale each. */
function fromLevels(arrays, name, where, features, classes) {
  const levels = arrays.get(name), scale = bounded(arrays, "scale", where, classes);
  const fits = levels?.kind === "|i1" && levels.shape.length === 2 && levels.shape[0] === classes && levels.shape[1] === features;
  require(fits, `${where} does not fit the manifest.`);
  return Array.from({ length: classes }, (_, row) => Float32Array.from({ length: features }, (_, column) => {
    const share = levels.data[row * features + column] / 127;
    return share * Math.abs(share) * scale[row];
  }));
}

/** A number a class, none of them absurd. */
function bounded(arrays, name, where, classes) {
  const found = arrays.get(name), fits = found?.kind === "<f4" && found.data.length === classes;
  require(fits && found.data.every((value) => Math.abs(value) <= 1e6), `${where} does not fit the manifest.`);
  return found.data;
}

/** Correct the first rows, `mygo_edge.bundle.correction`, where they are: {classes, spread} says how many, and of what. */
export function readCorrection(bytes, where, rows) {
  const arrays = readNpz(bytes, where), spread = arrays.get("spread");
  const left = rowsOf(arrays, "left", "left_scale", where), right = rowsOf(arrays, "right", "right_scale", where);
  require(left.columns === right.rows && left.rows <= rows.length && right.columns === rows[0].length, `${where} does not fit the rows.`);
  require(spread?.kind === "<f8" && spread.data.length === 1 && spread.data[0] >= 0 && spread.data[0] < Infinity, `${where} lacks the spread.`);
  for (let row = 0; row < left.rows; row += 1) {
    const sum = new Float64Array(right.columns);
    rowOf(left, row).forEach((share, index) => addTo(sum, share, rowOf(right, index)));
    rows[row].forEach((value, column) => (rows[row][column] = value + sum[column]));
  }
  return { classes: left.rows, spread: spread.data[0] };
}

/** How scores are to be read, `mygo_edge.bundle.calibration`: {temperature, novelty}. */
export function readCalibration(bytes, where) {
  const arrays = readNpz(bytes, where), temperature = arrays.get("temperature"), novelty = arrays.get("novelty");
  require(temperature?.kind === "<f8" && temperature.data.length === 1 && temperature.data[0] >= 1e-3 && temperature.data[0] <= 1e6, `${where} lacks the temperature.`);
  const fits = novelty?.kind === "<f4" && novelty.data.length >= 2 && novelty.data.length <= 4096;
  require(fits && novelty.data.every((value, index) => Number.isFinite(value) && (index === 0 || value >= novelty.data[index - 1])), `${where} holds no quantiles.`);
  return { temperature: temperature.data[0], novelty: novelty.data };
}

/** Covariances of their own, of the classes of all tasks: from `first` on, as many as there are means. */
export function readOwn(bytes, where, shared) {
  const arrays = readNpz(bytes, where);
  const directions = rowsOf(arrays, "directions", "directions_scale", where), parts = rowsOf(arrays, "covariances", "covariances_scale", where);
  const count = directions.rows;
  require(directions.columns === shared.factor.rows && parts.columns === (count * (count + 1)) / 2, `${where} does not fit the shared factor.`);
  const span = matrix(shared.factor.rows, shared.factor.columns); // the rows of U / d, each of norm 1
  for (let row = 0; row < span.rows; row += 1) {
    const own = rowOf(span, row);
    rowOf(shared.factor, row).forEach((value, index) => (own[index] = value / shared.diagonal[index]));
    const norm = Math.max(Math.sqrt(dot(own, own)), TINY);
    own.forEach((value, index) => (own[index] = value / norm));
  }
  const along = times(directions, span);
  return (first, means) => {
    require(first + means.length <= parts.rows, `${where} is not of these classes.`);
    return new OwnCovariances(along, means.map((_, index) => unfolded(rowOf(parts, first + index), count)), means, shared);
  };
}

/** A symmetric matrix from its lower triangle less the identity. */
function unfolded(part, count) {
  const whole = matrix(count, count);
  let at = 0;
  for (let row = 0; row < count; row += 1) {
    for (let column = 0; column <= row; column += 1, at += 1) {
      whole.data[row * count + column] = whole.data[column * count + row] = part[at] + (row === column ? 1 : 0);
    }
  }
  return whole;
}

/** A matrix in fp32, fp16, or int8 with a scale a row. */
function rowsOf(arrays, name, scaled, where) {
  const found = arrays.get(name), scale = arrays.get(scaled);
  require(found?.shape.length === 2 && ["<f4", "<f2", "|i1"].includes(found.kind), `${where} holds no ${name}.`);
  const [rows, columns] = found.shape, data = new Float32Array(rows * columns);
  require(rows > 0 && columns > 0 && (found.kind === "|i1") === (scale !== undefined), `${where} holds no ${name} that can be read.`);
  require(!scale || (scale.kind === "<f4" && scale.data.length === rows), `${where}: the scale of ${name} does not fit.`);
  for (let index = 0; index < data.length; index += 1) {
    const value = found.data[index];
    data[index] = found.kind === "<f2" ? fromHalf(value) : scale ? value * scale.data[Math.floor(index / columns)] : value;
  }
  require(data.every(Number.isFinite), `${where}: ${name} is not finite.`);
  return matrix(rows, columns, data);
}

/** A vector as half precision keeps it. */
export const halved = (vector) => Float32Array.from(vector, (value) => fromHalf(toHalf(value)));

/** The content of the file that a device keeps of a task learnt here. */
export function memoryFile({ name, classes, means, counts }, trunk, { power, signed, normalised }) {
  const features = means[0].length, halves = Uint16Array.from(means.flatMap((row) => Array.from(row, toHalf)));
  const archive = writeNpz(new Map([
    ["means", { kind: "<f2", shape: [means.length, features], data: halves }],
    ["counts", { kind: "<i8", shape: [counts.length], data: BigInt64Array.from(counts, BigInt) }],
  ]));
  return sealed({
    schema_version: "memory-1.0", name, classes, features, trunk, power, signed, normalised,
    created: new Date().toISOString().replace("Z", "+00:00"), means: base64(archive),
  });
}
