// The memory in the feature space of a trunk: mygo_edge.bundle.gaussian and own_covariance in a browser.
//
// A class is a Gaussian around its mean; the covariance U'U + diag(d) is one for all classes, and what a class has of its
// own besides lies in a few directions. The classifier follows from these. Vectors are rows of matrices.

import { require } from "./errors.js";
import { addTo, cholesky, dot, eigen, matrix, rowOf, solveLower, times, timesTransposed, withEigenvalues } from "./matrices.js";

const TINY = 1e-12; // below any norm of a vector that is not all zeros
const SIMILAR = 0.25; // share of the median count: a mean of fewer images would be taken for noise among the others
const LEAST_SIGNAL = 0.2; // of a direction of the means that is no longer than noise
const DOUBT = 5, FEW = 10; // of few images a class, directions shrink as if noise were so many times as much
const SCATTER = 0.25; // of real features' squared distance to their mean, relative
const LEAST = 1e-3; // eigenvalue of a class's own covariance
const f = Math.fround;

/** The space in which features of a trunk are nearly Gaussian: divided by their norm, raised to a power. */
export class PowerTransform {
  constructor(power, signed, normalised) {
    Object.assign(this, { power, signed, normalised });
  }

  /** A vector of the trunk in this space. */
  apply(vector) {
    return this.changed(this.normalised ? divided(vector) : vector, this.power);
  }

  /** A vector of this space as the trunk gives it. */
  inverse(vector) {
    const features = this.changed(vector, 1 / this.power);
    return this.normalised ? divided(features) : features;
  }

  changed(vector, power) {
    return Float32Array.from(vector, (value) => {
      const given = this.signed ? value : Math.max(value, 0);
      return power === 1 ? given : Math.sign(given) * Math.abs(given) ** power;
    });
  }
}

function divided(vector) {
  const norm = Math.max(Math.sqrt(dot(vector, vector)), TINY);
  return Float32Array.from(vector, (value) => value / norm);
}

/** Products with the inverse of U'U + diag(d), by Woodbury's identity. */
export class Precision {
  /** @param {{factor: {rows, columns, data}, diagonal: Float32Array}} shared */
  constructor({ factor, diagonal }) {
    this.scale = Float64Array.from(diagonal, (value) => 1 / Math.sqrt(value));
    const scaled = matrix(factor.rows, factor.columns);
    scaled.data.forEach((_, index, data) => (data[index] = factor.data[index] * this.scale[index % factor.columns]));
    const inner = timesTransposed(scaled, scaled);
    for (let index = 0; index < inner.rows; index += 1) inner.data[index * (inner.rows + 1)] += 1;
    const lower = cholesky(inner);
    require(lower, "The shared factor of the bundle is no covariance.");
    this.basis = solveLower(lower, scaled);
  }

  whiten(vector) {
    return Float64Array.from(vector, (value, index) => value * this.scale[index]);
  }

  /** x' S^-1 x. */
  norm(vector) {
    const white = this.whiten(vector);
    let norm = dot(white, white);
    for (let row = 0; row < this.basis.rows; row += 1) norm -= dot(white, rowOf(this.basis, row)) ** 2;
    return norm;
  }

  /** S^-1 x. */
  times(vector) {
    const white = this.whiten(vector), result = Float64Array.from(white);
    for (let row = 0; row < this.basis.rows; row += 1) {
      const direction = rowOf(this.basis, row);
      addTo(result, -dot(white, direction), direction);
    }
    return result.map((value, index) => value * this.scale[index]);
  }
}

/** The mean of some rows. */
export function meanOf(rows) {
  const mean = new Float64Array(rows[0].length);
  for (const row of rows) addTo(mean, 1 / rows.length, row);
  return mean;
}

/** Rows less a vector, times the precision, and both together: what heads are made from. */
function products(rows, centre, precision) {
  const away = rows.map((row) => Float64Array.from(row, (value, index) => value - centre[index]));
  return { away, weight: away.map((row) => precision.times(row)) };
}

/** The same where the box sends rows, `mygo_edge.bundle.rows.row_discriminant`. */
function sent(means, centre, rows, many) {
  const middle = meanOf(rows.filter((_, index) => many[index]));
  const away = means.map((row) => Float64Array.from(row, (value, index) => value - centre[index]));
  return { away, weight: rows.map((row) => Float64Array.from(row, (value, index) => value - middle[index])) };
}

/**
 * Fisher's linear discriminant of all classes, its means denoised: `mygo_edge.bundle.gaussian.fisher`.
 * @param {Float32Array[]} means a class each
 * @param {number[]} counts images behind each
 * @param {Float32Array[]} rows S^-1 (mean - a centre) of each, where the box sends them
 * @param rule by which noise is taken out of the means, of `mygo_edge.bundle.denoising`; null takes it out of their
 *   norms alone
 * @returns {{weight: Float32Array[], bias: Float32Array}}
 */
export function discriminant(means, counts, precision, spread, rows, rule = "truncated") {
  const median = quantileOf(counts), similar = counts.map((count) => !rule || count >= median * SIMILAR);
  const many = similar.filter(Boolean).length > 1 ? similar : similar.fill(true); // a mean alone has no centre but itself
  const middle = meanOf(means.filter((_, index) => many[index]));
  const { away, weight } = rows ? sent(means, middle, rows, many) : products(means, middle, precision);
  const n = means.length, inner = matrix(n, n);
  for (let row = 0; row < n; row += 1) for (let column = 0; column < n; column += 1) inner.data[row * n + column] = dot(weight[row], away[column]);
  const noise = counts.map((count) => spread / count), chosen = counts.map((_, index) => index).filter((index) => many[index]);
  const signal = Math.max(chosen.reduce((sum, index) => sum + inner.data[index * (n + 1)] - noise[index], 0) / chosen.length, 0);
  const share = noise.map((value) => Math.max(signal / Math.max(signal + value, TINY), LEAST_SIGNAL)), mix = matrix(n, n);
  share.forEach((value, index) => (mix.data[index * (n + 1)] = Math.sqrt(value)));
  if (rule) {
    const shrunk = shrinkage(inner, counts, chosen, spread, rule);
    chosen.forEach((row, i) => chosen.forEach((column, j) => (mix.data[row * n + column] = shrunk.data[i * chosen.length + j])));
  } else noise.forEach((_, index) => (mix.data[index * (n + 1)] = 1));
  const mixed = times(mix, inner), bias = new Float32Array(n);
  const denoised = Array.from({ length: n }, (_, row) => {
    const own = new Float64Array(middle.length);
    rowOf(mix, row).forEach((value, column) => value && addTo(own, value, weight[column]));
    const left = !rule ? noise[row] : many[row] ? 0 : share[row] * noise[row];
    bias[row] = -0.5 * (dot(rowOf(mixed, row), rowOf(mix, row)) - left) - dot(own, middle);
    return Float32Array.from(own);
  });
  const finite = bias.every(Number.isFinite) && denoised.every((row) => row.every(Number.isFinite));
  require(finite, "The memory of the bundle gives no finite classifier.");
  return { weight: denoised, bias };
}

/** The matrix that denoises means: what lies in their common directions beyond the noise. */
function shrinkage(inner, counts, chosen, spread, rule) {
  const n = chosen.length, root = chosen.map((index) => Math.sqrt(counts[index])), products = matrix(n, n);
  chosen.forEach((row, i) => chosen.forEach((column, j) => {
    // Of the lower triangle, as numpy: rounded rows make the other a little different.
    products.data[i * n + j] = inner.data[Math.max(row, column) * inner.rows + Math.min(row, column)] * root[i] * root[j];
  }));
  const few = rule === "ridge" ? FEW / (FEW + quantileOf(chosen.map((index) => counts[index]))) : 0;
  const kept = (length) => (1 - few) * Math.max(1 - spread / length, LEAST_SIGNAL) + (few * length) / (length + DOUBT * spread);
  const shares = withEigenvalues(eigen(products), (value) => kept(Math.max(value, TINY)));
  shares.data.forEach((value, index, data) => (data[index] = (value * root[index % n]) / root[Math.floor(index / n)]));
  return shares;
}

function quantileOf(values) {
  const sorted = [...values].sort((a, b) => a - b), half = (sorted.length - 1) / 2;
  return (sorted[Math.floor(half)] + sorted[Math.ceil(half)]) / 2;
}

/** What the frequencies of classes add to their logits, against the class in the middle: `mygo_edge.bundle.prior`. */
export function priorLogits(counts, prior) {
  const median = quantileOf(counts);
  return Float32Array.from(counts, (count) => prior * Math.log(count / median));
}

/** Heads of classes of few examples, comparable with the bundle's: `mygo_edge.device.few_shot`. */
export class FewShot {
  /** @param weights of the bundle's classifier, where it is not that of means and factor; @param rule of the bundle */
  constructor(means, counts, precision, spread, centre, weights, rule) {
    Object.assign(this, { precision, spread, centre, scale: 1 });
    if (weights && means.length > 1) {
      const summed = (rows) => rows.reduce((sum, row, index) => sum + dot(row, means[index].map((value, place) => value - centre[place])), 0);
      const apart = summed(discriminant(means, counts, precision, spread, undefined, rule).weight), told = summed(weights);
      if (apart > 0 && told > 0) this.scale = told / apart;
    }
    const norms = this.products(means, counts).norms;
    this.norm = norms.reduce((sum, value) => sum + value, 0) / norms.length;
    this.variance = norms.reduce((sum, value) => sum + (value - this.norm) ** 2, 0) / norms.length;
  }

  products(means, counts) {
    const { away, weight } = products(means, this.centre, this.precision);
    return { weight, norms: weight.map((row, index) => dot(row, away[index]) - this.spread / counts[index]) };
  }

  /** @returns {{weight: Float32Array[], bias: Float32Array}} */
  head(means, counts) {
    const { weight, norms } = this.products(means, counts);
    const plain = !(this.norm > 0); // one class alone says nothing of distances between classes
    const bias = new Float32Array(norms.length);
    const scaled = weight.map((row, index) => {
      const noise = this.spread / counts[index], doubt = (SCATTER * noise) ** 2 / counts[index];
      const belief = this.variance / Math.max(this.variance + doubt, Number.MIN_VALUE);
      const believed = plain ? norms[index] : belief * norms[index] + (1 - belief) * this.norm;
      const scale = plain ? 1 : this.scale * Math.sqrt(this.norm / (this.norm + noise));
      bias[index] = scale * (-0.5 * believed - dot(row, this.centre));
      return Float32Array.from(row, (value) => scale * value);
    });
    return { weight: scaled, bias };
  }
}

/** What the covariances of a task's classes have of their own: `mygo_edge.bundle.own_covariance`. */
export class OwnCovariances {
  /** @param directions matrix [r, features]; covariances a matrix [r, r] a class; means of the classes */
  constructor(directions, covariances, means, shared) {
    Object.assign(this, { directions, shared });
    const found = covariances.map((own) => eigen(own));
    require(found.every(({ values }) => values.every((value) => value >= LEAST)), "A class's covariance is none.");
    this.extra = found.map((own) => withEigenvalues(own, (value) => 1 / value - 1));
    this.logarithms = found.map(({ values }) => values.reduce((sum, value) => sum + Math.log(value), 0));
    this.changes = found.map((own) => withEigenvalues(own, (value) => Math.sqrt(value) - 1));
    this.centres = means.map((mean) => this.project(mean));
  }

  project(vector) {
    return Float64Array.from({ length: this.directions.rows }, (_, row) => dot(rowOf(this.directions, row), vector));
  }

  /** What they add to the logits of a vector, a class each. */
  quadratic(vector) {
    const projected = this.project(vector);
    return this.centres.map((centre, index) => {
      const away = projected.map((value, place) => value - centre[place]), own = this.extra[index];
      let sum = 0;
      for (let row = 0; row < own.rows; row += 1) sum += away[row] * dot(rowOf(own, row), away);
      return -0.5 * (sum + this.logarithms[index]);
    });
  }

  /** A dream with the covariance of its class. */
  dream(vector, classId) {
    const away = this.project(vector).map((value, place) => value - this.centres[classId][place]);
    const moved = matrix(1, away.length, Float64Array.from({ length: away.length }, (_, row) => dot(rowOf(this.changes[classId], row), away)));
    const { factor, diagonal } = this.shared, along = times(moved, this.directions);
    const back = times(timesTransposed(along, factor), factor); // P S, a factor at a time
    return Float32Array.from(vector, (value, index) => value + back.data[index] + along.data[index] * diagonal[index]);
  }
}

/** A dream in the transformed space: mean + z U + noise sqrt(d). */
export function dreamOf(mean, { factor, diagonal }, z, noise) {
  const away = new Float64Array(mean.length);
  z.forEach((value, row) => addTo(away, value, rowOf(factor, row)));
  return Float32Array.from(mean, (value, index) => f(value + away[index]) + noise[index] * f(Math.sqrt(diagonal[index])));
}
