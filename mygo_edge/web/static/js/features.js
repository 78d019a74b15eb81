// A version on a trunk that runs: mygo_edge.device.features in a browser. Dreams are vectors, a task is its class means.

import { Refusal, require } from "./errors.js";
import { discriminant, dreamOf, FewShot, meanOf, Precision, priorLogits } from "./gaussians.js";
import { newTask } from "./heads.js";
import { dot } from "./matrices.js";
import { halved, memoryFile, readCalibration, readCorrection, readHead, readMeans, readOwn, readRows, readShared } from "./memories.js";
import { dreamNoise, featureNoise } from "./noise.js";
import { photoToPicture } from "./photos.js";
import { Trunk } from "./trunk.js";
import { CALIBRATION, fileOf, novelThreshold, openSession, softmax } from "./version.js";

const BATCH = 64; // dreams between two breaks, in which the page answers

/** Logits in which each task's own head says which of its classes; their maximum over a task stays. */
function settled(logits, vector, tasks, priors) {
  let first = 0;
  return tasks.flatMap(({ classes, head }) => {
    const shared = logits.slice(first, first + classes.length), prior = priors.slice(first, (first += classes.length));
    if (!head) return shared;
    const within = head.weight.map((row, index) => dot(row, vector) + head.bias[index] + prior[index]);
    const shift = Math.max(...shared) - Math.max(...within);
    return within.map((logit) => logit + shift);
  });
}

export class FeatureModel {
  least = 1; // classes of a task that is learnt here

  /** @param ort onnxruntime-web; bundle as `readBundle` gives it. Throws Refusal. */
  static async open(ort, bundle) {
    const model = new FeatureModel(), { manifest } = bundle;
    Object.assign(model, { ort, bundle, manifest, thresholds: new Map(), heads: [] });
    model.entry = model.find("trunk");
    model.precision = model.entry.precision;
    model.trunk = new Trunk(ort, await openSession(ort, bundle, model.entry), manifest.trunk, bundle);
    model.kind = model.trunk.kind;
    model.remember();
    return model;
  }

  /** Read what is remembered, and compute the classifier from it. */
  remember() {
    const { manifest, bundle } = this, { features } = manifest.trunk, factor = this.find("factor");
    const shared = (this.shared = readShared(bundle.contents.get(factor.path), factor.path));
    const fits = shared.factor.columns === features && shared.factor.rows === manifest.latent;
    require(fits, `${factor.path} does not fit the manifest.`);
    const memories = manifest.tasks.map(({ name, classes }) => {
      const { path } = this.find("generator", name);
      return { name, classes, ...readMeans(bundle.contents.get(path), path, features, classes.length) };
    });
    const means = memories.flatMap((task) => task.means), counts = memories.flatMap((task) => task.counts);
    this.inverse = new Precision(shared);
    this.centre = Float32Array.from(meanOf(means));
    const entry = manifest.files.find(({ role }) => role === "covariances");
    const computed = discriminant(means, counts, this.inverse, shared.spread, undefined, entry ? null : manifest.denoising);
    const rows = this.readRows(memories, features);
    this.apart = rows !== undefined; // logits and distances are then of two covariances
    const { weight, bias } = rows ? discriminant(means, counts, this.inverse, rows.spread, rows.rows, manifest.denoising) : computed;
    const calibration = manifest.files.find(({ role }) => role === "calibration");
    this.calibration = calibration && readCalibration(bundle.contents.get(calibration.path), calibration.path);
    const own = entry && readOwn(bundle.contents.get(entry.path), entry.path, shared);
    const priors = priorLogits(counts, manifest.prior);
    let first = 0;
    this.tasks = memories.map((task) => {
      const end = first + task.classes.length;
      const parts = { weight: weight.slice(first, end), bias: bias.slice(first, end), prior: priors.slice(first, end) };
      const made = { ...task, ...parts, own: own?.(first, task.means), head: this.readHead(task, features) };
      first = end;
      return made;
    });
    this.fewShot = new FewShot(means, counts, this.inverse, shared.spread, this.centre, rows && weight, manifest.denoising);
    this.labels = memories.flatMap(({ name, classes }) => classes.map((label) => ({ task: name, label })));
  }

  /** The rows of the classifier of all tasks, or undefined where the box sends none. */
  readRows(tasks, features) {
    if (!this.manifest.files.some(({ role }) => role === "rows")) return undefined;
    const found = tasks.map(({ name, classes }) => {
      const { path } = this.find("rows", name);
      return readRows(this.bundle.contents.get(path), path, features, classes.length);
    });
    const rows = found.flatMap((own) => own.rows), entry = this.manifest.files.find(({ role }) => role === "correction");
    const first = entry ? readCorrection(this.bundle.contents.get(entry.path), entry.path, rows) : { classes: 0 };
    let start = 0; // rows that are not corrected are of one covariance, which is that of the correction
    const spread = first.spread ?? found[0].spread, starts = found.map((own) => (start += own.rows.length) - own.rows.length);
    const alike = found.every((own, index) => starts[index] < first.classes || own.spread === spread);
    require(alike && [...starts, start].includes(first.classes), "The rows of the bundle are of different covariances.");
    return { rows, spread };
  }

  /** What the wake of a task left to tell its classes apart, or undefined. */
  readHead({ name, classes }, features) {
    const entry = this.manifest.files.find(({ role, task }) => role === "head" && task === name);
    return entry && readHead(this.bundle.contents.get(entry.path), entry.path, features, classes.length);
  }

  find(role, task) {
    return fileOf(this.manifest, role, task);
  }

  /** The tasks of a name, or all, those learnt here last. */
  chosen(task) {
    return [...this.tasks, ...this.heads].filter(({ name }) => task === undefined || name === task);
  }

  /** Of a vector in the transformed space: the logit of every class of these tasks, and how little it looks like any. */
  score(vector, tasks) {
    const logits = tasks.flatMap(({ weight, bias, own }) => {
      const extra = own?.quadratic(vector);
      return weight.map((row, index) => dot(row, vector) + bias[index] + (extra?.[index] ?? 0));
    });
    const largest = Math.max(...logits), distance = (from) => this.inverse.norm(Float64Array.from(vector, (value, index) => value - from[index]));
    const nearest = this.apart
      ? Math.min(...tasks.flatMap(({ means }) => means.map((mean) => Math.max(distance(mean), 0))))
      : Math.max(distance(this.centre) - 2 * largest, 0);
    const { spread } = this.shared, counts = spread > 0 ? Math.min(Math.max(4 - nearest / spread, 0), 1) : 1;
    const novelty = nearest * (this.shared.factor.rows / vector.length) - 2 * counts * largest, temperature = this.calibration?.temperature ?? 1;
    const priors = tasks.flatMap(({ classes, prior }) => (prior ? [...prior] : classes.map(() => 0))); // 0 of what was learnt here
    const likely = logits.map((logit, index) => (logit + priors[index]) / temperature);
    return { logits: settled(likely, vector, tasks, priors.map((prior) => prior / temperature)), novelty };
  }

  async transformed(inputs) {
    return (await this.trunk.vectors(inputs)).map((vector) => this.shared.transform.apply(vector));
  }

  fromPicture(picture) {
    return this.trunk.prepare(picture);
  }

  toPicture(input) {
    return photoToPicture(input, this.manifest.trunk.input);
  }

  example() {
    return this.trunk.examples(1)[0];
  }

  /** Once through the trunk and the classifier, to be timed. */
  async once(input) {
    this.score((await this.transformed([input]))[0], this.tasks);
  }

  /** Of an input: {task, label, logit, probability} of the classes of a task or of all, and whether it looks like none. */
  async assess(input, task) {
    const tasks = this.chosen(task), [vector] = await this.transformed([input]);
    const { logits, novelty } = this.score(vector, tasks), shares = softmax(logits);
    const names = tasks.flatMap(({ name, classes }) => classes.map((label) => ({ task: name, label })));
    const found = names.map((label, index) => ({ ...label, logit: logits[index], probability: shares[index] }));
    return { found, rejected: novelty > (await this.threshold(task)) };
  }

  /** The novelty that few of the dreams of a task, or of all, exceed; kept until something is learnt. */
  async threshold(task) {
    if (!this.thresholds.has(task)) this.thresholds.set(task, this.calibrate(this.chosen(task)));
    return this.thresholds.get(task);
  }

  async calibrate(tasks) {
    if (this.calibration) return novelThreshold(this.calibration.novelty);
    const each = Math.ceil(CALIBRATION.dreams / tasks.length), novelties = [];
    for (const [step, { name }] of tasks.entries()) {
      const { vectors } = await this.dream(name, { n: each, seed: 0n, stream: CALIBRATION.stream, step });
      for (const vector of vectors) novelties.push(this.score(this.shared.transform.apply(vector), tasks).novelty);
    }
    return novelThreshold(novelties);
  }

  /**
   * Dream `n` vectors of a task, as EdgeModel.dream does.
   * @returns {Promise<{vectors: Float32Array[], classIds: number[]}>}
   */
  async dream(task, { classId, n, seed, stream = 0, step = 0 }) {
    const { means, classes, own } = this.chosen(task)[0], { rows: latent, columns: width } = this.shared.factor;
    const vectors = [], ids = [], which = { classes: classes.length, latent, width, seed, stream, step };
    for (let start = 0; start < n; start += BATCH) {
      const part = Math.min(BATCH, n - start), { z, classIds } = dreamNoise(start, part, which), noise = featureNoise(start, part, which);
      for (let row = 0; row < part; row += 1) {
        const id = classId ?? classIds[row], at = [row * latent, row * width];
        const plain = dreamOf(means[id], this.shared, z.subarray(at[0], at[0] + latent), noise.subarray(at[1], at[1] + width));
        vectors.push(this.shared.transform.inverse(own ? own.dream(plain, id) : plain));
        ids.push(id);
      }
      await new Promise((rested) => setTimeout(rested, 0));
    }
    return { vectors, classIds: ids };
  }

  /** Which class a dream is taken for, among all. */
  recognised(vector) {
    const { logits } = this.score(this.shared.transform.apply(vector), this.tasks);
    return this.labels[logits.indexOf(Math.max(...logits))];
  }

  /** A task from labelled inputs, in the box's own closed form; it is used at once. */
  async learn(name, examples) {
    const classes = newTask(this, name, examples);
    const vectors = await this.vectorsOf(examples);
    const of = (label) => vectors.filter((_, index) => examples[index].label === label);
    const means = classes.map((label) => halved(meanOf(of(label)))), counts = classes.map((label) => of(label).length);
    const head = { name, classes, means, counts, examples: examples.length, ...this.fewShot.head(means, counts) };
    const sound = [...head.weight, head.bias].every((row) => row.every(Number.isFinite));
    if (!sound) throw new Refusal("These examples give no finite classifier.");
    this.heads = [...this.heads.filter((other) => other.name !== name), head];
    this.thresholds.clear();
    return head;
  }

  /** One at a time: a browser's memory is not the page's alone. */
  async vectorsOf(examples) {
    const found = [];
    for (const { input } of examples) found.push(...(await this.transformed([input])));
    return found;
  }

  /** The file of a task that was learnt here. */
  file(head) {
    return memoryFile(head, this.manifest.trunk.digest, this.shared.transform);
  }
}
