// Whether the graphs compute here what was published: mygo_edge.device.selftest in a browser.

import { require } from "./errors.js";
import { LATENT, TASKS_READER } from "./manifest.js";
import { toPixels } from "./model.js";
import { readNpz } from "./npz.js";

/** Of any version. @returns {Promise<Map<string, number>>} how far each file is off, absolute below 1 and relative above. Throws Refusal. */
export const runSelftest = (model) => (model.kind === "pixels" ? pixelSelftest(model) : featureSelftest(model));

async function pixelSelftest(model) {
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

  function compare(file, got, expected) {
    const off = allowed(file, manifest, deviation(got, expected));
    worst.set(file.path, Math.max(off, worst.get(file.path) ?? 0));
  }
}

const PROBES = 2, DREAMS = 2, PROBE_FEATURES = 64, DREAM_FEATURES = 8; // recorded: inputs, dreams of a task, of a vector
const TASKS = 8, LOGITS = 32; // at most, from TASKS_READER on: tasks that dream, and logits of a dream among its task's

/** What fixed inputs and fixed noise become: mygo_edge.device.feature_selftest. */
async function featureSelftest(model) {
  const { manifest, bundle, trunk, tasks } = model, entry = model.find("selftest");
  const arrays = readNpz(bundle.contents.get(entry.path), entry.path), found = { probes: [], class_id: [], dreams: [], logits: [], largest: [] };
  const sampled = (vector, most) => vector.filter((_, index) => index % Math.ceil(vector.length / most) === 0);
  for (const vector of await trunk.vectors(trunk.examples(PROBES))) found.probes.push(...sampled(vector, PROBE_FEATURES));
  const some = manifest.reader >= TASKS_READER, count = tasks.length;
  const spread = new Set(Array.from({ length: TASKS }, (_, index) => count - 1 - Math.floor((index * count) / TASKS)));
  for (const [step, task] of tasks.entries()) {
    if (some && !spread.has(step)) continue;
    const { vectors, classIds } = await model.dream(task.name, { n: DREAMS, seed: 0n, step });
    found.class_id.push(...classIds);
    for (const vector of vectors) {
      const moved = model.shared.transform.apply(vector);
      found.dreams.push(...sampled(vector, DREAM_FEATURES));
      const { logits } = model.score(moved, [task]);
      found.logits.push(...(some ? sampled(logits, LOGITS) : logits));
      found.largest.push(Math.max(...model.score(moved, tasks).logits));
    }
  }
  const off = (name) => {
    require(arrays.has(name), `${entry.path} holds no ${name}.`);
    return deviation(found[name], name === "class_id" ? Array.from(arrays.get(name).data, Number) : arrays.get(name).data);
  };
  const factor = model.find("factor");
  require(off("class_id") === 0, "Dreams are of other classes than published.");
  return new Map([
    [trunk.form.file, allowed(model.entry, manifest, off("probes"))],
    [factor.path, allowed(factor, manifest, off("dreams"))],
    ["the classifier made of means and factor", allowed(factor, manifest, Math.max(off("logits"), off("largest")))],
  ]);
}

/** A deviation that the manifest allows for a file. Throws Refusal for a larger one. */
function allowed({ path, tolerance }, manifest, off) {
  const limit = tolerance ?? manifest.tolerance;
  require(off <= limit, `${path} fails its self-test: it is off by ${off.toPrecision(3)}, ${limit} is allowed.`);
  return off;
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
