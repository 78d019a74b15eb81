// Small dense matrices in double precision: {rows, columns, data}, row after row.

export const matrix = (rows, columns, data = new Float64Array(rows * columns)) => ({ rows, columns, data });
export const rowOf = ({ columns, data }, row) => data.subarray(row * columns, (row + 1) * columns);

export function dot(a, b) {
  let sum = 0;
  for (let index = 0; index < a.length; index += 1) sum += a[index] * b[index];
  return sum;
}

/** Add so many times a row to another. */
export function addTo(target, factor, row) {
  for (let index = 0; index < target.length; index += 1) target[index] += factor * row[index];
}

/** a times b transposed: the products of all rows of both. */
export function timesTransposed(a, b) {
  const result = matrix(a.rows, b.rows);
  for (let row = 0; row < a.rows; row += 1) {
    const own = rowOf(a, row), to = rowOf(result, row);
    for (let column = 0; column < b.rows; column += 1) to[column] = dot(own, rowOf(b, column));
  }
  return result;
}

export function times(a, b) {
  const result = matrix(a.rows, b.columns);
  for (let row = 0; row < a.rows; row += 1) {
    const own = rowOf(a, row), to = rowOf(result, row);
    for (let inner = 0; inner < own.length; inner += 1) if (own[inner] !== 0) addTo(to, own[inner], rowOf(b, inner));
  }
  return result;
}

/** The lower triangle L of L L' = a; undefined where a is not positive definite. */
export function cholesky(a) {
  const lower = matrix(a.rows, a.rows);
  for (let row = 0; row < a.rows; row += 1) {
    for (let column = 0; column <= row; column += 1) {
      const [left, right] = [rowOf(lower, row).subarray(0, column), rowOf(lower, column).subarray(0, column)];
      const rest = a.data[row * a.rows + column] - dot(left, right);
      if (row === column && !(rest > 0)) return undefined;
      lower.data[row * a.rows + column] = row === column ? Math.sqrt(rest) : rest / lower.data[column * a.rows + column];
    }
  }
  return lower;
}

/** X with L X = b, for a lower triangle L. */
export function solveLower(lower, b) {
  const result = matrix(b.rows, b.columns, Float64Array.from(b.data));
  for (let row = 0; row < b.rows; row += 1) {
    const own = rowOf(result, row);
    for (let before = 0; before < row; before += 1) addTo(own, -lower.data[row * lower.rows + before], rowOf(result, before));
    for (let column = 0; column < own.length; column += 1) own[column] /= lower.data[row * lower.rows + row];
  }
  return result;
}

/** Eigenvalues and eigenvectors, a row each, of a symmetric matrix, by Jacobi's rotations. */
export function eigen(symmetric) {
  const n = symmetric.rows, a = Float64Array.from(symmetric.data), vectors = matrix(n, n);
  for (let index = 0; index < n; index += 1) vectors.data[index * n + index] = 1;
  const size = a.reduce((sum, value) => sum + value * value, 0);
  for (let sweep = 0; sweep < 60; sweep += 1) {
    let off = 0;
    for (let p = 0; p < n; p += 1) {
      for (let q = p + 1; q < n; q += 1) {
        const between = a[p * n + q];
        off += between * between;
        if (between * between <= 1e-34 * size) continue;
        const theta = (a[q * n + q] - a[p * n + p]) / (2 * between);
        const tangent = (theta < 0 ? -1 : 1) / (Math.abs(theta) + Math.sqrt(theta * theta + 1));
        const cosine = 1 / Math.sqrt(tangent * tangent + 1), sine = tangent * cosine;
        rotate(a, p * n, q * n, 1, n, cosine, sine);
        rotate(a, p, q, n, n, cosine, sine);
        rotate(vectors.data, p * n, q * n, 1, n, cosine, sine);
      }
    }
    if (!(off > 1e-28 * size)) break;
  }
  return { values: Float64Array.from({ length: n }, (_, index) => a[index * n + index]), vectors };
}

/** Turn two lines of numbers against each other. */
function rotate(data, first, second, step, count, cosine, sine) {
  for (let index = 0; index < count; index += 1, first += step, second += step) {
    const [x, y] = [data[first], data[second]];
    data[first] = cosine * x - sine * y;
    data[second] = sine * x + cosine * y;
  }
}

/** A symmetric matrix with its eigenvalues changed. */
export function withEigenvalues({ values, vectors }, change) {
  const n = values.length, scaled = matrix(n, n, Float64Array.from(vectors.data));
  for (let row = 0; row < n; row += 1) rowOf(scaled, row).forEach((value, column, own) => (own[column] = value * change(values[row])));
  const transposed = matrix(n, n);
  for (let row = 0; row < n; row += 1) for (let column = 0; column < n; column += 1) transposed.data[column * n + row] = vectors.data[row * n + column];
  return times(transposed, scaled);
}
