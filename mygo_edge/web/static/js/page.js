// The page: load and check, then answer what a visitor does.

import { readBundle, verified } from "./bundle.js";
import { Refusal } from "./errors.js";
import { FeatureModel } from "./features.js";
import { listen } from "./inputs.js";
import { Model } from "./model.js";
import { showPlane } from "./plane.js";
import { runSelftest } from "./selftest.js";
import { byId, element, fill, paint, percent, showBars, showDreams } from "./views.js";

const GROUPS = 21, RUNS = 10; // of a latency: clocks of browsers are coarse, so runs are timed by tens
const LONG = 30; // milliseconds of a run that is timed alone
const root = document.documentElement;
let model, input; // what is loaded, and what was last classified
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
  const loaded = bundle.manifest.trunk ? await FeatureModel.open(ort, bundle) : await Model.open(ort, bundle, precision);
  const deviations = await runSelftest(loaded);
  model = loaded;
  if (precision) byId("precision").value = precision;
  const { manifest, contents, version, signature } = bundle;
  const bytes = [...contents.values()].reduce((sum, { length }) => sum + length, 0);
  byId("version").textContent = `${version}, made ${manifest.created.replace(/T(\d\d:\d\d):\d\d\+00:00$/, " $1 UTC")}`;
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
  Object.assign(root.dataset, { state: "ready", kind: model.kind });
}

const classesOf = (task) => [...model.manifest.tasks, ...model.heads].find(({ name }) => name === task).classes;

function showClasses() {
  fill(byId("dream-class"), [["", "any"], ...classesOf(byId("dream-task").value).map((label, index) => [String(index), label])]);
}

/** Classify an input, and show what it is and what was found. */
async function classify(given = input) {
  const mine = (turn += 1), task = byId("task").value || undefined;
  input = given;
  if (!given) return;
  if (model.kind === "texts") byId("tokens").textContent = String(model.trunk.tokenizer.ids(given).flat().length);
  else paint(byId(model.kind === "photos" ? "photo" : "seen"), model.toPicture(given));
  const { found, rejected } = await model.assess(given, task);
  if (mine !== turn) return;
  const best = showBars(byId("bars").tBodies[0], found);
  const likely = `${best.label} (task ${best.task}, ${percent(best.probability)})`;
  byId("answer").textContent = rejected ? `none of these; the nearest is ${likely}` : likely;
}

/** Classify what a visitor shows, or forget it where there is nothing any more. */
function shown(given) {
  if (given) return classify(given);
  turn += 1;
  input = undefined;
  byId("bars").tBodies[0].replaceChildren();
  byId("tokens").textContent = "no";
  byId("photo").getContext("2d").clearRect(0, 0, byId("photo").width, byId("photo").height);
  byId("answer").textContent = "Nothing to classify yet.";
}

async function dream() {
  const [task, n, seed] = [byId("dream-task").value, Number(byId("dream-n").value), BigInt(byId("dream-seed").value)];
  if (!(Number.isInteger(n) && n >= 1 && n <= 256)) throw new Refusal("Number must be from 1 to 256.");
  if (seed >= 2n ** 64n) throw new Refusal("Seed must be below 2^64.");
  const chosen = byId("dream-class").value, classId = chosen === "" ? undefined : Number(chosen);
  const began = performance.now();
  const dreams = await model.dream(task, { classId, n, seed });
  const took = `${n} dreams of task ${task} in ${(performance.now() - began).toFixed(0)} ms`;
  if (model.kind === "pixels") {
    showDreams(byId("dreams"), dreams, classesOf(task), model, (image) => attempt(() => classify(image), byId("answer")));
    byId("dream-status").textContent = `${took}.`;
  } else {
    byId("dream-status").textContent = `${took}; ${showPlane(model, task, dreams)} are taken for their own class.`;
  }
  const which = classId === undefined ? "" : ` --class-id ${classId}`, file = model.kind === "pixels" ? "dreams.png" : "dreams.npy";
  byId("command").textContent = `python -m mygo_edge.dream BUNDLE --task ${task}${which} -n ${n} --seed ${seed} --to ${file}`;
  byId("same").hidden = false;
}

async function measure() {
  const example = model.example();
  const timed = async (runs) => {
    const began = performance.now();
    for (let run = 0; run < runs; run += 1) await model.once(example);
    return (performance.now() - began) / runs;
  };
  await timed(1); // warms up
  const runs = (await timed(1)) > LONG ? 1 : RUNS, times = [];
  for (let group = 0; group < GROUPS; group += 1) times.push(await timed(runs));
  const median = times.sort((a, b) => a - b)[(GROUPS - 1) / 2].toFixed(3);
  byId("latency").textContent = `One ${model.kind === "texts" ? "text" : "image"}: ${median} ms, the median of ${GROUPS} groups of ${runs}, one thread.`;
}

const examples = []; // {label, input} of the task that is to be learnt
function addExample() {
  if (!input) throw new Refusal(model.kind === "texts" ? "Write a text first." : "Draw something, open a picture or use the camera first.");
  examples.push({ label: byId("learn-class").value.normalize("NFC"), input: typeof input === "string" ? input : new Uint8Array(input) });
  const counts = Map.groupBy(examples, ({ label }) => label);
  byId("examples").replaceChildren(...[...counts].map(([label, { length }]) => element("li", `${label}: ${length}`)));
}

async function learn() {
  byId("learn-status").textContent = "Learning …";
  await new Promise((drawn) => setTimeout(drawn, 50)); // so that it can be read meanwhile
  const head = await model.learn(byId("learn-task").value, examples);
  const file = new Blob([await model.file(head)], { type: "application/json" });
  URL.revokeObjectURL(byId("download").href);
  Object.assign(byId("download"), { href: URL.createObjectURL(file), download: `${head.name}.json`, hidden: false });
  const dreaming = model.kind === "pixels" ? [] : ["dream-task"]; // a head alone cannot dream
  for (const id of ["task", ...dreaming]) {
    const known = [...byId(id).options].some(({ value }) => value === head.name);
    if (!known) byId(id).append(element("option", `${head.name}: learnt here`, { value: head.name }));
  }
  showClasses();
  byId("learn-status").textContent = `Learnt ${head.classes.join(", ")} from ${head.examples} ${model.kind === "texts" ? "texts" : "pictures"}.`;
  await classify();
}

const on = (id, event, work, place = "answer") =>
  byId(id).addEventListener(event, (happened) => attempt(() => work(happened), byId(place)));
on.attempt = attempt;

listen(() => model, shown, on);
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

if (!(await attempt(start))) root.dataset.state = "refused";
