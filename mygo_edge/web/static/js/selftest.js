// Whether the graphs compute here what was published: mygo_edge.device.selftest in a browser.

import { require } from "./errors.js";
import { LATENT } from "./manifest.js";
import { toPixels } from "./model.js";
import { readNpz } from "./npz.js";

/** @returns {Promise<Map<string, number>>} how far each file is off, absolute below 1 and relative above. Throws Refusal. */
export async function runSelftest(model) {
  const { manifest, bundle, precision } = model, entry = model.find("selftest");
  const arrays = readNpz(bundle.contents.get(entry.path), entry.path);
  const get = (name) => {
    require(arrays.has(name), `${entry.path} holds no ${name}.`);
    return arrays.get(name);
  };
  const z = get("z"), classId = get("class_id"), dreams = get("dreams");
  const logits = get(precision === "fp32" ? "logits" : `logits.${precision}`);
  const { channels, height, width } = manifest.input;
  const n = z.shape[0], tasks = manifest.tasks.length, columns = model.labels.length, size = channels * height * width;
  const fits = (array, ...shape) => String(array.shape) === String(shape);
  require(
    fits(z, n, LATENT) && fits(classId, tasks, n) && fits(dreams, tasks, n, channels, height, width) && fits(logits, tasks, n, columns),
    `${entry.path} does not fit the manifest.`,
  );
  const worst = new Map();
  for (const [index, { name, classes }] of manifest.tasks.entries()) {
    const ids = Array.from(classId.data.subarray(index * n, (index + 1) * n), Number);
    require(ids.every((id) => id >= 0 && id < classes.length), `${entry.path} does not fit the manifest.`);
    const expected = dreams.data.subarray(index * n * size, (index + 1) * n * size);
    compare(model.find("generator", name), await model.generate(name, z.data, ids), expected);
    const found = await model.classify(new Uint8Array(toPixels(expected).buffer), n);
    compare(model.entry, found.logits, logits.data.subarray(index * n * columns, (index + 1) * n * columns));
    found.answers.forEach(([task, label], row) => {
      const own = found.logits.subarray(row * columns, (row + 1) * columns), column = own.indexOf(Math.max(...own));
      const { task: of, label: called } = model.labels[column];
      const said = manifest.tasks[task];
      require(said?.name === of && said.classes[label] === called, "The classifier's answer is not its largest logit.");
    });
  }
  return worst;

  function compare({ path, tolerance }, got, expected) {
    const off = deviation(got, expected), allowed = tolerance ?? manifest.tolerance;
    require(off <= allowed, `${path} fails its self-test: it is off by ${off.toPrecision(3)}, ${allowed} is allowed.`);
    worst.set(path, Math.max(off, worst.get(path) ?? 0));
  }
}

/** The largest difference, absolute where the expected value is below 1 and relative above; infinite for NaN. */
export function deviation(got, expected) {
  if (got.length !== expected.length) return Infinity;
  let worst = 0;
  for (let index = 0; index < got.length; index += 1) {
    const error = Math.abs(got[index] - expected[index]) / Math.max(1, Math.abs(expected[index]));
    if (!(error <= worst)) worst = Number.isNaN(error) ? Infinity : error;
  }
  return worst;
}
