// Learn a task from a few pictures, and keep it as the file that devices and the training machine read.

import { require } from "./errors.js";
import { fitHead } from "./fitting.js";

const STREAM = 2 ** 32 - 1, DREAMS = 256; // of the dreams beside which a head is fitted, as on a device
const TASK_NAME = /^[A-Za-z0-9_][A-Za-z0-9_-]{0,63}$/;

/**
 * A head for a new task.
 * @param model a `Model`
 * @param {string} name of the task
 * @param {{label: string, pixels: Uint8Array}[]} examples of two classes or more
 * @returns {Promise<{name: string, classes: string[], weight: Float32Array[], bias: Float32Array, images: number}>}
 */
export async function learnHead(model, name, examples) {
  const taken = model.manifest.tasks.some((task) => task.name.toLowerCase() === name.toLowerCase());
  require(TASK_NAME.test(name) && !taken, "Name the task with letters, digits, _ and -, and not as a task that is there.");
  const classes = [...new Set(examples.map(({ label }) => label))].sort();
  require(classes.length >= 2, "Add pictures of two classes or more.");
  const fresh = await model.see(examples.map(({ pixels }) => pixels));
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
  return { name, classes, images: examples.length, ...fitHead({ ...fresh, labels }, dreams, classes.length) };
}

/** The content of a head's file, as mygo_edge.bundle.heads has it. */
export async function headFile(model, head) {
  const { manifest } = model, digest = manifest.features_digest ?? (typeof manifest.trunk === "string" ? manifest.trunk : null);
  const values = {
    bias: base64([head.bias]),
    classes: head.classes,
    created: new Date().toISOString().replace("Z", "+00:00"),
    features: head.weight[0].length,
    images: head.images,
    name: head.name,
    schema_version: "1.0",
    trunk: digest ?? model.find("classifier").sha256,
    weight: base64(head.weight),
  };
  // The hash is of the values with sorted keys, no white space, and nothing but ASCII: as Python writes JSON.
  const canonical = JSON.stringify(values, Object.keys(values).sort()).replace(
    /[\u007f-\uffff]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
  const found = new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(canonical)));
  const sha256 = Array.from(found, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return `${JSON.stringify({ ...values, sha256 }, null, 1)}\n`;
}

/** Little-endian floats, row after row: typed arrays are little-endian wherever browsers run. */
function base64(rows) {
  const bytes = rows.flatMap((row) => [...new Uint8Array(row.buffer, row.byteOffset, row.byteLength)]);
  return btoa(bytes.map((byte) => String.fromCharCode(byte)).join(""));
}
