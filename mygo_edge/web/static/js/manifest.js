// manifest.json of a version, read as strictly as mygo_edge.bundle.manifest does: nothing in it is believed unchecked.

import { Refusal, require } from "./errors.js";

export const LATENT = 64; // normals a dream starts from
const READER = 8; // what this page can read; a manifest may ask for more
const DENOISING_READER = 7; // of versions that name the rule by which noise is taken out of means
export const TASKS_READER = 6; // of versions whose older tasks stand in files of their own
const TASK_NAME = /^[A-Za-z0-9_][A-Za-z0-9_-]{0,63}$/;
const FILE_NAME = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/;
const SHA256 = /^[0-9a-f]{64}$/;
const PART = /^tasks-[0-9]{1,4}\.json$/; // a file in which older tasks stand, of role "tasks"
const MAX_SIDE = 4096, MAX_FILE_BYTES = 2 ** 31 - 1;
const MAX_FEATURES = 2 ** 16, MAX_LATENT = 4096, MAX_TOKENS = 2 ** 16, MAX_PARTS = 64, MAX_PRIOR = 1000;
const MAX_MANIFEST_BYTES = 2 ** 22; // and as many of all files of tasks together
const FIRST_ROLES = ["classifier", "generator", "generators", "selftest"];
const ROLES = [...FIRST_ROLES, "trunk", "tokenizer", "factor", "covariances", "rows", "head", "correction", "calibration", "tasks"];
const OF_TASKS = ["generator", "rows", "head"]; // roles of files of one task
const INTERPOLATIONS = ["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"];
const GAUSSIAN = "gaussian"; // the kind of a task's memory where there is a trunk

/** The entries of the files in which older tasks stand: `parseManifest` needs their bytes. Throws Refusal. */
export function partEntries(bytes, where) {
  const top = opened(bytes, where), listed = Array.isArray(top.files) ? top.files : [];
  const entries = listed.filter((entry) => isObject(entry) && entry.role === "tasks").map((entry) => {
    const { path, sha256, bytes: size, precision } = entry, named = typeof path === "string" && PART.test(path);
    const fits = named && SHA256.test(sha256) && within(size, 1, MAX_MANIFEST_BYTES) && precision === "fp32";
    require(fits, `${where}: a file of tasks needs its name, SHA-256, size and precision`);
    return { path, sha256, size };
  });
  require(entries.length === 0 || top.reader >= TASKS_READER, `${where}: files of tasks need reader ${TASKS_READER}`);
  const total = entries.reduce((sum, { size }) => sum + size, 0);
  require(total <= MAX_MANIFEST_BYTES, `${where}: files of tasks have ${total} bytes`);
  return entries;
}

/**
 * @param {Uint8Array} bytes
 * @param {string} where what to call the file in messages
 * @param {Map<string, Uint8Array>} parts the bytes of the files that `partEntries` names, by path
 * @returns the manifest's values, with `tasks`, `input` or `trunk`, `files` and `tolerance` checked; files of roles that
 *   this page has no use for are left out
 */
export function parseManifest(bytes, where, parts = new Map()) {
  const top = opened(bytes, where), check = (holds, claim) => require(holds, `${where}: ${claim}`);
  const apart = [...parts].map(([path, data]) => json(data, `${where}: ${path}`));
  check(Number.isInteger(top.sequence) && top.sequence >= 0, "sequence must be a number");
  check(isText(top.created), "created must be text");
  check(top.expires === undefined || !Number.isNaN(Date.parse(top.expires)), "expires must be a time");
  const onTrunk = top.schema_version !== "1.0" && isObject(top.trunk); // in the first schema it was a hash
  const latent = top.latent ?? LATENT;
  check(onTrunk ? within(latent, 1, MAX_LATENT) : latent === LATENT, "dreams start from an impossible number of normals");
  check(onTrunk !== isObject(top.input), "it must have either images of pixels as input or a trunk");
  const { prior = 0 } = top; // how much frequencies of classes count
  check(prior === 0 || (onTrunk && Number.isFinite(prior) && prior >= 0 && prior <= MAX_PRIOR), "its prior is impossible");
  const { denoising = "truncated" } = top; // by which rule noise is taken out of class means
  const ruled = onTrunk && denoising === "ridge" && top.reader >= DENOISING_READER;
  check(top.denoising === undefined || ruled, "its denoising is unknown");
  const named = apart.length > 0 && top.tasks === undefined ? apart : [...apart, top];
  const sections = named.map((part) => list(part.tasks, "tasks").map(task)), tasks = sections.flat();
  unique(tasks.map(({ name }) => name.toLowerCase()), "task");
  unique(tasks.map(({ head }) => head), "head");
  const known = ({ role }) => (onTrunk ? ROLES : FIRST_ROLES).includes(role);
  const listed = [...apart, top].map((part) => list(part.files, "files").map(file).filter(known));
  const files = listed.flat();
  unique(files.map(({ path }) => path.toLowerCase()), "path");
  listed.forEach((entries, place) => {
    const names = new Set(sections[place]?.map(({ name }) => name));
    for (const { path, role, task: of } of entries) {
      check(of === undefined || names.has(of), `${path} has an unknown task`);
      check(place === apart.length || (OF_TASKS.includes(role) && of !== undefined), `${path} is of no task`);
    }
  });
  const tolerance = top.selftest?.tolerance;
  check(isTolerance(tolerance), "selftest needs a tolerance in (0, 1]");
  const taken = onTrunk ? { trunk: trunk(top.trunk) } : { input: input(top.input) };
  return { ...top, tasks, files, tolerance, latent, prior, denoising, ...taken };

  function list(values, name) {
    check(Array.isArray(values) && values.length > 0 && values.every(isObject), `${name} must be a list of objects`);
    return values;
  }
  function unique(values, what) {
    check(new Set(values).size === values.length, `a ${what} occurs twice`);
  }
  function task({ name, classes, head, generator }) {
    check(typeof name === "string" && TASK_NAME.test(name), "a task's name must be of letters, digits, _ and -");
    check(Array.isArray(classes) && classes.length > 0 && classes.every(isText), `classes of ${name} must be names`);
    unique(classes, `class of ${name}`);
    check(isText(head), `head of ${name} must be text`);
    check(!onTrunk || generator === GAUSSIAN, `the memory of ${name} is of a kind that this page does not read`);
    return { name, classes, head };
  }
  function input({ shape, dtype }) {
    const fits = Array.isArray(shape) && shape.length === 3;
    check(fits && shape.every((side) => Number.isInteger(side) && side > 0 && side <= MAX_SIDE), "shape is impossible");
    check(dtype === "uint8", "dtype must be uint8");
    check(shape[0] === 1 || shape[0] === 3, "this page shows images of one or three channels");
    return { channels: shape[0], height: shape[1], width: shape[2] };
  }
  function trunk({ digest, file: path, output, features, input: form }) {
    const role = (name) => files.find((entry) => entry.path === name)?.role;
    check(role(path) === "trunk" && isText(output), "the trunk's file or output is missing");
    check(typeof digest === "string" && SHA256.test(digest), "the trunk needs its SHA-256");
    check(within(features, 1, MAX_FEATURES), "the trunk has an impossible number of features");
    check(isObject(form) && ["image", "text"].includes(form.kind), "the trunk's input is neither photos nor texts");
    if (form.kind === "text") {
      check(role(form.tokenizer) === "tokenizer" && within(form.max_tokens, 1, MAX_TOKENS), "the trunk's tokenizer is missing");
      check(within(form.parts ?? 1, 1, MAX_PARTS), "a text has an impossible number of parts");
    } else {
      const { size, resize, crop, interpolation, layout } = form;
      check(Array.isArray(size) && size.length === 2 && size.every((side) => within(side, 1, MAX_SIDE)), "the size of photos is impossible");
      check(["center", "none"].includes(crop) && INTERPOLATIONS.includes(interpolation), "photos are cut or resized in an unknown way");
      const cut = resize === undefined || resize === null || within(resize, crop === "center" ? Math.max(...size) : 1, MAX_SIDE);
      check(cut && ["nchw", "nhwc"].includes(layout), "photos are resized or laid out in an unknown way");
      const scales = [form.mean, form.std].every((values) => Array.isArray(values) && values.length === 3 && values.every(Number.isFinite));
      check(scales && Math.min(...form.std) > 0, "mean and std need three numbers each, std above 0");
    }
    return { digest, file: path, output, features, input: form };
  }
  function file(entry) {
    const { path, role, sha256, bytes: size, precision, task: of, tolerance: own } = entry;
    check(typeof path === "string" && FILE_NAME.test(path), "a file's path must be a plain name");
    check(isText(role) && isText(precision), `${path} needs a role and a precision`);
    check(typeof sha256 === "string" && SHA256.test(sha256), `${path} needs its SHA-256`);
    check(Number.isInteger(size) && size > 0 && size <= MAX_FILE_BYTES, `${path} needs its size`);
    check(own === undefined || isTolerance(own), `tolerance of ${path} must be in (0, 1]`);
    return { path, role, sha256, size, precision, task: of, tolerance: own };
  }
}

/** The values of a manifest that this page can read. */
function opened(bytes, where) {
  const top = json(bytes, where);
  require(["1.0", "2.0"].includes(top.schema_version), `${where}: its schema is unknown; this page is older than the bundle`);
  require((top.reader ?? 1) <= READER, `${where}: it needs a newer reader; publish the page again`);
  return top;
}

function json(bytes, where) {
  let values;
  try {
    values = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    throw new Refusal(`${where} is not JSON`);
  }
  require(isObject(values), `${where}: it must be an object`);
  return values;
}

const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
const within = (value, low, high) => Number.isInteger(value) && value >= low && value <= high;
const isText = (value) => typeof value === "string" && value.length > 0 && value.length <= 200;
const isTolerance = (value) => typeof value === "number" && value > 0 && value <= 1;
