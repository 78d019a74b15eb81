// Dreams that are vectors, as points of a plane: that in which the means of the classes are farthest apart.

import { meanOf } from "./gaussians.js";
import { dot, eigen, matrix } from "./matrices.js";
import { byId, element } from "./views.js";

const SVG = "http://www.w3.org/2000/svg", WIDE = 320, HIGH = 200, EDGE = 16;
const colour = (index, count) => `hsl(${Math.round((360 * index) / Math.max(count, 1)) + 150} 60% 48%)`;

/** Show dreams {vectors, classIds} of a task. @returns {number} how many are taken for their own class */
export function showPlane(model, task, { vectors, classIds }) {
  const { means, classes } = model.chosen(task)[0], transform = model.shared.transform;
  const place = planeOf(model.tasks.flatMap((known) => known.means));
  const points = vectors.map((vector) => place(transform.apply(vector)));
  const rings = means.map(place), scale = scaleOf([...points, ...rings]);
  const right = vectors.map((vector, index) => {
    const { task: of, label } = model.recognised(vector);
    return of === task && label === classes[classIds[index]];
  });
  const dots = points.map((point, index) => circle(scale(point), 3.5, colour(classIds[index], classes.length), right[index]));
  const centres = rings.map((point, index) => circle(scale(point), 9, colour(index, classes.length), false));
  const hits = right.filter(Boolean).length;
  const title = document.createElementNS(SVG, "title");
  Object.assign(title, { id: "plane-title", textContent: `${vectors.length} dreams of ${task}: ${hits} are taken for their own class` });
  byId("points").replaceChildren(title, ...centres, ...dots);
  byId("legend").replaceChildren(...classes.map((label, index) => legend(label, colour(index, classes.length), classIds, right, index)));
  byId("plane").hidden = false;
  return hits;
}

function legend(label, shade, classIds, right, index) {
  const own = right.filter((_, dream) => classIds[dream] === index), mark = element("i");
  mark.style.setProperty("background", shade);
  const line = element("li");
  line.append(mark, `${label}: ${own.filter(Boolean).length} of ${own.length}`);
  return line;
}

/** Where a vector lies: its products with the two leading principal components of the means. */
function planeOf(means) {
  const middle = meanOf(means), away = means.map((mean) => mean.map((value, index) => value - middle[index]));
  const products = matrix(away.length, away.length);
  products.data.forEach((_, index, data) => (data[index] = dot(away[Math.floor(index / away.length)], away[index % away.length])));
  const { values, vectors } = eigen(products);
  const order = Array.from(values.keys()).sort((a, b) => values[b] - values[a]).slice(0, 2);
  const axes = order.map((row) => {
    const axis = new Float64Array(middle.length), norm = Math.sqrt(Math.max(values[row], 1e-30));
    away.forEach((mean, index) => mean.forEach((value, at) => (axis[at] += (vectors.data[row * away.length + index] * value) / norm)));
    return axis;
  });
  return (vector) => [0, 1].map((axis) => (axes[axis] ? dot(axes[axis], vector.map((value, index) => value - middle[index])) : 0));
}

/** From places in the plane to places in the picture, all inside it. */
function scaleOf(points) {
  const [lows, spans] = [0, 1].map((axis) => points.map((point) => point[axis])).reduce(
    ([low, span], values) => [[...low, Math.min(...values)], [...span, Math.max(...values) - Math.min(...values) || 1]], [[], []]);
  const sides = [WIDE - 2 * EDGE, HIGH - 2 * EDGE];
  return (point) => point.map((value, axis) => EDGE + (sides[axis] * (value - lows[axis])) / spans[axis]);
}

function circle([x, y], radius, shade, filled) {
  const found = document.createElementNS(SVG, "circle");
  for (const [name, value] of Object.entries({ cx: x, cy: y, r: radius, stroke: shade, fill: filled ? shade : "none" })) found.setAttribute(name, value);
  return found;
}
