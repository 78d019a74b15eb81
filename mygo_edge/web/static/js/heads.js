// Learn a task from a few pictures, and keep it as the file that devices and the training machine read.

import { require } from "./errors.js";
import { fitHead } from "./fitting.js";
import { base64, sealed } from "./sealed.js";

const STREAM = 2 ** 32 - 1, DREAMS = 256; // of the dreams beside which a head is fitted, as on a device
const TASK_NAME = /^[A-Za-z0-9_][A-Za-z0-9_-]{0,63}$/;

/** The classes of a task that is about to be learnt, in sorted order. Throws Refusal. */
export function newTask(model, name, examples) {
  const taken = model.manifest.tasks.some((task) => task.name.toLowerCase() === name.toLowerCase());
  require(TASK_NAME.test(name) && !taken, "Name the task with letters, digits, _ and -, and not as a task that is there.");
  require(examples.every(({ label }) => label.trim()), "Name the class of every example.");
  const classes = [...new Set(examples.map(({ label }) => label))].sort();
  require(classes.length >= model.least, model.least > 1 ? "Add examples of two classes or more." : "Add an example first.");
  return classes;
}

/**
 * A head for a new task.
 * @param model a `Model`
 * @param {string} name of the task
 * @param {{label: string, input: Uint8Array}[]} examples of two classes or more
 * @returns {Promise<{name: string, classes: string[], weight: Float32Array[], bias: Float32Array, examples: number}>}
 */
export async function learnHead(model, name, examples) {
  const classes = newTask(model, name, examples);
  const fresh = await model.see(examples.map(({ input }) => input));
  const dreams = { features: [], old: [], labels: [] };
  let first = 0;
  for (const [step, task] of model.manifest.tasks.entries()) {
    const { images, classIds } = await model.dream(task.name, { n: DREAMS, seed: 0n, stream: STREAM, step });
    const seen = await model.see(images);
    dreams.features.push(...seen.features);
    dreams.old.push(...seen.old);
    dreams.labels.push(...classIds.map((id) => id + first));
    first += task.classes.length;
  }
  const labels = examples.map(({ label }) => classes.indexOf(label));
  return { name, classes, examples: examples.length, ...fitHead({ ...fresh, labels }, dreams, classes.length) };
}

/** The content of a head's file, as mygo_edge.bundle.heads has it. */
export async function headFile(model, head) {
  const { manifest } = model, digest = manifest.features_digest ?? (typeof manifest.trunk === "string" ? manifest.trunk : null);
  return sealed({
    bias: base64(bytesOf([head.bias])),
    classes: head.classes,
    created: new Date().toISOString().replace("Z", "+00:00"),
    features: head.weight[0].length,
    images: head.examples,
    name: head.name,
    schema_version: "1.0",
    trunk: digest ?? model.find("classifier").sha256,
    weight: base64(bytesOf(head.weight)),
  });
}

/** Little-endian floats, row after row: typed arrays are little-endian wherever browsers run. */
const bytesOf = (rows) => Uint8Array.from(rows.flatMap((row) => [...new Uint8Array(row.buffer, row.byteOffset, row.byteLength)]));
