// A version that runs: mygo_edge.device.edge_model in a browser, on onnxruntime-web.

import { require } from "./errors.js";
import { headFile, learnHead } from "./heads.js";
import { LATENT } from "./manifest.js";
import { dreamNoise } from "./noise.js";
import { pictureToPixels, pixelsToPicture } from "./pixels.js";
import { CALIBRATION, fileOf, novelThreshold, openSession, softmax } from "./version.js";

const BATCH = 64;

export class Model {
  kind = "pixels";
  least = 2; // classes of a task that is learnt here

  /** @param ort onnxruntime-web; bundle as `readBundle` gives it; precision of the classifier. Throws Refusal. */
  static async open(ort, bundle, precision = "fp32") {
    const model = new Model();
    Object.assign(model, { ort, bundle, precision, manifest: bundle.manifest, generators: new Map(), thresholds: new Map(), heads: [] });
    model.labels = model.manifest.tasks.flatMap(({ name, classes }) => classes.map((label) => ({ task: name, label })));
    model.entry = model.find("classifier", undefined, precision);
    model.classifier = await model.session(model.entry);
    for (const { name } of model.manifest.tasks) model.find("generator", name);
    return model;
  }

  find(role, task, precision) {
    return fileOf(this.manifest, role, task, precision);
  }

  session(entry) {
    return openSession(this.ort, this.bundle, entry);
  }

  /** A task's generator, opened when it is first asked to dream. */
  async generator(task) {
    if (!this.generators.has(task)) this.generators.set(task, await this.session(this.find("generator", task)));
    return this.generators.get(task);
  }

  /** Logits of all heads side by side, and the classifier's own answers. pixels: uint8 [n, channels, height, width]. */
  async classify(pixels, n) {
    const found = await this.run(pixels, n, ["task_id", "class_id"]);
    const answers = Array.from({ length: n }, (_, row) => [Number(found.task_id.data[row]), Number(found.class_id.data[row])]);
    return { logits: this.beside(found, n), answers };
  }

  /** Features of images, and the logits of the bundle's heads: a row an image. */
  async see(images) {
    const features = [], old = [], columns = this.labels.length;
    for (let start = 0; start < images.length; start += BATCH) {
      const part = images.slice(start, start + BATCH);
      const found = await this.run(Uint8Array.from(part.flatMap((image) => [...image])), part.length, ["features"]);
      const logits = this.beside(found, part.length), width = found.features.dims[1];
      part.forEach((_, row) => {
        features.push(found.features.data.slice(row * width, (row + 1) * width));
        old.push(logits.slice(row * columns, (row + 1) * columns));
      });
    }
    return { features, old };
  }

  async run(pixels, n, others) {
    const { channels, height, width } = this.manifest.input;
    const image = new this.ort.Tensor("uint8", pixels, [n, channels, height, width]);
    return this.classifier.run({ image }, [...this.manifest.tasks.map(({ head }) => head), ...others]);
  }

  /** The logits of all heads of the bundle, [n, classes of all tasks]. */
  beside(found, n) {
    const columns = this.labels.length, logits = new Float32Array(n * columns);
    let start = 0;
    for (const { head, classes } of this.manifest.tasks) {
      const { data, dims } = found[head], wide = classes.length;
      require(dims.length === 2 && dims[0] === n && dims[1] === wide, `Output ${head} does not fit its task.`);
      for (let row = 0; row < n; row += 1) logits.set(data.subarray(row * wide, (row + 1) * wide), row * columns + start);
      start += wide;
    }
    return logits;
  }

  fromPicture(picture) {
    return pictureToPixels(picture, this.manifest.input);
  }

  toPicture(pixels) {
    return pixelsToPicture(pixels, this.manifest.input);
  }

  /** An input that is always the same, to measure with. */
  example() {
    const { channels, height, width } = this.manifest.input;
    return Uint8Array.from({ length: channels * height * width }, (_, index) => (index * 97) % 256);
  }

  /** Once through the classifier, to be timed. */
  once(pixels) {
    return this.classify(pixels, 1);
  }

  /** A head for a new task; it is used at once. */
  async learn(name, examples) {
    const head = await learnHead(this, name, examples);
    this.heads = [...this.heads.filter((other) => other.name !== name), head];
    return head;
  }

  /** The file of a task that was learnt here. */
  file(head) {
    return headFile(this, head);
  }

  /** Of one image, of a task's classes or of all: {task, label, logit, probability}, in the heads' order. */
  async probabilities(pixels, task) {
    const { features, old } = await this.see([pixels]);
    const learnt = this.heads.flatMap((head) => scored(head, features[0]));
    const chosen = this.labels
      .map((label, column) => ({ ...label, logit: old[0][column] }))
      .concat(learnt)
      .filter((label) => task === undefined || label.task === task);
    const shares = softmax(chosen.map(({ logit }) => logit));
    return chosen.map((label, index) => ({ ...label, probability: shares[index] }));
  }

  /** Probabilities of one image as above, and whether it looks like none of the classes. */
  async assess(pixels, task) {
    const found = await this.probabilities(pixels, task);
    if (this.heads.some(({ name }) => name === task)) return { found, rejected: false }; // it has no dreams to judge by
    return { found, rejected: -Math.max(...found.map(({ logit }) => logit)) > (await this.threshold(task)) };
  }

  /** The negative of the largest logit that few of the model's own dreams exceed, of a task or of all; kept. */
  async threshold(task) {
    if (!this.thresholds.has(task)) this.thresholds.set(task, this.calibrate(task));
    return this.thresholds.get(task);
  }

  async calibrate(task) {
    const tasks = this.manifest.tasks.map(({ name }) => name).filter((name) => task === undefined || name === task);
    const each = Math.ceil(CALIBRATION.dreams / tasks.length), columns = this.labels.length, novelties = [];
    const own = this.labels.flatMap((label, column) => (task === undefined || label.task === task ? [column] : []));
    for (const [step, name] of tasks.entries()) {
      const { images } = await this.dream(name, { n: each, seed: 0n, stream: CALIBRATION.stream, step });
      for (let start = 0; start < each; start += BATCH) {
        const part = images.slice(start, start + BATCH);
        const { logits } = await this.classify(Uint8Array.from(part.flatMap((image) => [...image])), part.length);
        for (let row = 0; row < part.length; row += 1) {
          novelties.push(-Math.max(...own.map((column) => logits[row * columns + column])));
        }
      }
    }
    return novelThreshold(novelties);
  }

  /** Images in [-1, 1] float32 from noise and class ids of a task. */
  async generate(task, z, classIds) {
    const n = classIds.length, generator = await this.generator(task);
    const ids = BigInt64Array.from(classIds, BigInt);
    const { image } = await generator.run({
      z: new this.ort.Tensor("float32", z, [n, LATENT]),
      class_id: new this.ort.Tensor("int64", ids, [n]),
    });
    return image.data;
  }

  /**
   * Dream `n` images of a task, as EdgeModel.dream does.
   * @param {{classId: number|undefined, n: number, seed: bigint, stream?: number, step?: number}} which classId
   *   undefined: drawn uniformly
   * @returns {Promise<{images: Uint8ClampedArray[], classIds: number[]}>}
   */
  async dream(task, { classId, n, seed, stream = 0, step = 0 }) {
    const classes = this.manifest.tasks.find(({ name }) => name === task).classes.length;
    const { channels, height, width } = this.manifest.input, size = channels * height * width;
    const images = [], ids = [];
    for (let start = 0; start < n; start += BATCH) {
      const part = Math.min(BATCH, n - start);
      const { z, classIds } = dreamNoise(start, part, { classes, latent: LATENT, seed, stream, step });
      if (classId !== undefined) classIds.fill(classId);
      const pixels = toPixels(await this.generate(task, z, classIds));
      for (let row = 0; row < part; row += 1) images.push(pixels.slice(row * size, (row + 1) * size));
      ids.push(...classIds);
    }
    return { images, classIds: ids };
  }
}

/** The logits of a head that was learnt here, one a class. */
const scored = ({ name, classes, weight, bias }, features) =>
  classes.map((label, index) => ({
    task: name,
    label,
    logit: weight[index].reduce((sum, value, column) => sum + value * features[column], bias[index]),
  }));

/** Images in [-1, 1] as bytes, -1 as 0 and 1 as 255; a clamped array rounds halves to even, as numpy's rint does. */
export function toPixels(images) {
  const pixels = new Uint8ClampedArray(images.length);
  for (let index = 0; index < images.length; index += 1) {
    pixels[index] = Math.fround(Math.fround(images[index] + 1) * 127.5);
  }
  return pixels;
}
