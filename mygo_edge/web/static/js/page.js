// The page: load and check, then answer what a visitor does.

import { readBundle, verified } from "./bundle.js";
import { Refusal } from "./errors.js";
import { headFile, learnHead } from "./heads.js";
import { Model } from "./model.js";
import { Pad } from "./pad.js";
import { Camera, inverted, openPicture } from "./pictures.js";
import { pictureToPixels } from "./pixels.js";
import { runSelftest } from "./selftest.js";
import { byId, element, fill, paint, percent, showBars, showDreams } from "./views.js";

const GROUPS = 21, RUNS = 10; // of a latency: clocks of browsers are coarse, so runs are timed by tens
const root = document.documentElement;
let model, pixels; // what is loaded, and what was last classified
let turn = 0; // of classifications, so that only the last one is shown

/** Do it; say what a visitor can understand where it fails. */
async function attempt(work, place = byId("status")) {
  try {
    await work();
  } catch (error) {
    if (!(error instanceof Refusal)) console.error(error);
    place.textContent = error instanceof Refusal ? error.message : `Something went wrong: ${error.message}`;
    return false;
  }
  return true;
}

async function start() {
  const began = performance.now();
  const site = await (await fetch("site.json")).json();
  const { folder, sha256 } = site.runtime;
  const bundle = await readBundle(site.bundle, site.publicKey);
  const name = "ort-wasm-simd-threaded.wasm";
  const wasm = await verified(`${folder}/${name}`, { path: name, sha256: sha256[name] });
  const ort = await import(new URL(`${folder}/ort.wasm.bundle.min.mjs`, document.baseURI));
  Object.assign(ort.env.wasm, { wasmBinary: wasm.buffer, numThreads: 1, proxy: false });
  const precisions = bundle.manifest.files.filter(({ role }) => role === "classifier").map(({ precision }) => precision);
  fill(byId("precision"), precisions.map((precision) => [precision, precision]));
  await load(ort, bundle, precisions.includes("fp32") ? "fp32" : precisions[0]);
  byId("status").textContent = `Ready: every check passed, in ${((performance.now() - began) / 1000).toFixed(1)} s.`;
  show(bundle.manifest);
  attempt(() => model.threshold()); // so that the first answer need not wait for it
}

/** Open the graphs and run the self-test, before anything is used. */
async function load(ort, bundle, precision) {
  const loaded = await Model.open(ort, bundle, precision);
  const deviations = await runSelftest(loaded);
  model = loaded;
  byId("precision").value = precision;
  const { manifest, contents, version, signature } = bundle;
  const bytes = [...contents.values()].reduce((sum, { length }) => sum + length, 0);
  byId("version").textContent = `${version}, made ${manifest.created}`;
  byId("checks").replaceChildren(
    element("li", `Files: ${contents.size}, ${bytes} bytes, all of the size and SHA-256 in the manifest`),
    element("li", `Signature: ${signature}`),
    ...(Date.parse(manifest.expires) < Date.now() ? [element("li", `Expired: ${manifest.expires}; ask for a newer one`)] : []),
    ...[...deviations].map(([path, off]) => element("li", `Self-test: ${path} computes what was published, off by ${off.toExponential(1)}`)),
  );
}

function show({ tasks }) {
  const names = tasks.map(({ name, classes }) => [name, `${name}: ${classes.join(", ")}`]);
  byId("task").append(...names.map(([value, text]) => element("option", text, { value })));
  fill(byId("dream-task"), names);
  showClasses();
  byId("main").hidden = false;
  root.dataset.state = "ready";
}

function showClasses() {
  const { classes } = model.manifest.tasks.find(({ name }) => name === byId("dream-task").value);
  fill(byId("dream-class"), [["", "any"], ...classes.map((label, index) => [String(index), label])]);
}

/** Classify pixels, and show what they are and what was found. */
async function classify(given = pixels) {
  if (!given) return;
  pixels = given;
  const mine = (turn += 1), task = byId("task").value || undefined;
  paint(byId("seen"), given, model.manifest.input);
  const { found, rejected } = await model.assess(new Uint8Array(given), task);
  if (mine !== turn) return;
  const best = showBars(byId("bars").tBodies[0], found);
  const likely = `${best.label} (task ${best.task}, ${percent(best.probability)})`;
  byId("answer").textContent = rejected ? `none of these; the nearest is ${likely}` : likely;
}

const classifyPicture = (picture) =>
  classify(pictureToPixels(byId("invert").checked ? inverted(picture) : picture, model.manifest.input));

let drawn = false; // whether a frame with the drawing is on its way
const pad = new Pad(byId("pad"), () => {
  if (drawn || !model) return;
  drawn = true;
  requestAnimationFrame(() => {
    drawn = false;
    attempt(() => classify(pictureToPixels(pad.picture(byId("fit").checked), model.manifest.input)), byId("answer"));
  });
});

let opened; // the picture that was last given, for when an option changes
async function open(picture) {
  opened = picture;
  await classifyPicture(picture);
}

async function dream() {
  const [task, n, seed] = [byId("dream-task").value, Number(byId("dream-n").value), BigInt(byId("dream-seed").value)];
  if (!(Number.isInteger(n) && n >= 1 && n <= 256)) throw new Refusal("Number must be from 1 to 256.");
  if (seed >= 2n ** 64n) throw new Refusal("Seed must be below 2^64.");
  const chosen = byId("dream-class").value, classId = chosen === "" ? undefined : Number(chosen);
  const began = performance.now();
  const dreams = await model.dream(task, { classId, n, seed });
  const { classes } = model.manifest.tasks.find(({ name }) => name === task);
  showDreams(byId("dreams"), dreams, classes, model.manifest.input, (image) => attempt(() => classify(image), byId("answer")));
  byId("dream-status").textContent = `${n} dreams of task ${task} in ${(performance.now() - began).toFixed(0)} ms.`;
  const which = classId === undefined ? "" : ` --class-id ${classId}`;
  byId("command").textContent = `python -m mygo_edge.dream BUNDLE --task ${task}${which} -n ${n} --seed ${seed} --to dreams.png`;
  byId("same").hidden = false;
}

async function measure() {
  const { channels, height, width } = model.manifest.input;
  const image = Uint8Array.from({ length: channels * height * width }, (_, index) => (index * 97) % 256);
  const times = [];
  for (let group = 0; group <= GROUPS; group += 1) {
    const began = performance.now();
    for (let run = 0; run < RUNS; run += 1) await model.classify(image, 1);
    times.push((performance.now() - began) / RUNS);
  }
  const steady = times.slice(1).sort((a, b) => a - b); // the first group warms up
  const median = steady[(GROUPS - 1) / 2].toFixed(3);
  byId("latency").textContent = `One image: ${median} ms, the median of ${GROUPS} groups of ${RUNS}, one thread.`;
}

const examples = []; // {label, pixels} of the task that is to be learnt
function addExample() {
  if (!pixels) throw new Refusal("Draw something, open a picture or use the camera first.");
  examples.push({ label: byId("learn-class").value, pixels: new Uint8Array(pixels) });
  const counts = Map.groupBy(examples, ({ label }) => label);
  byId("examples").replaceChildren(...[...counts].map(([label, { length }]) => element("li", `${label}: ${length}`)));
}

async function learn() {
  byId("learn-status").textContent = "Learning …";
  await new Promise((drawn) => setTimeout(drawn, 50)); // so that it can be read meanwhile
  const head = await learnHead(model, byId("learn-task").value, examples);
  model.heads = [...model.heads.filter(({ name }) => name !== head.name), head];
  const file = new Blob([await headFile(model, head)], { type: "application/json" });
  URL.revokeObjectURL(byId("download").href);
  Object.assign(byId("download"), { href: URL.createObjectURL(file), download: `${head.name}.json`, hidden: false });
  const known = [...byId("task").options].some(({ value }) => value === head.name);
  if (!known) byId("task").append(element("option", `${head.name}: learnt here`, { value: head.name }));
  byId("learn-status").textContent = `Learnt ${head.classes.join(", ")} from ${head.images} pictures.`;
  await classify();
}

const camera = new Camera(byId("video"));
function showCamera() {
  byId("pad").hidden = camera.on;
  byId("shoot").hidden = !camera.on;
  byId("camera").textContent = camera.on ? "Stop the camera" : "Use the camera";
}

const on = (id, event, work, place = "answer") =>
  byId(id).addEventListener(event, (happened) => attempt(() => work(happened), byId(place)));

on("clear", "click", () => {
  pad.clear();
  opened = pixels = undefined;
  turn += 1;
  byId("bars").tBodies[0].replaceChildren();
  byId("answer").textContent = "Nothing to classify yet.";
});
on("file", "change", async ({ target }) => {
  const [file] = target.files;
  target.value = ""; // so that the same file can be opened again
  if (file) await open(await openPicture(file));
});
on("camera", "click", async () => {
  await (camera.on ? camera.stop() : camera.start());
  showCamera();
});
on("shoot", "click", () => open(camera.take()));
on("invert", "change", () => opened && classifyPicture(opened));
on("fit", "change", () => pad.empty || pad.changed(pad));
on("task", "change", () => classify());
on("dream-task", "change", showClasses, "dream-status");
on("dream-form", "submit", (event) => {
  event.preventDefault();
  return dream();
}, "dream-status");
on("learn-form", "submit", (event) => {
  event.preventDefault();
  addExample();
}, "learn-status");
on("learn", "click", learn, "learn-status");
on("measure", "click", measure, "latency");
on("precision", "change", async ({ target }) => {
  try {
    await load(model.ort, model.bundle, target.value);
  } finally {
    target.value = model.precision;
  }
  await classify();
}, "status");
for (const kind of ["dragover", "dragleave", "drop"]) {
  on("drop", kind, async (event) => {
    event.preventDefault();
    byId("drop").classList.toggle("over", kind === "dragover");
    if (kind === "drop" && event.dataTransfer.files.length) await open(await openPicture(event.dataTransfer.files[0]));
  });
}

if (!(await attempt(start))) root.dataset.state = "refused";
