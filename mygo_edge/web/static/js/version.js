// What a version of pixels and one on a trunk have in common.

import { Refusal, require } from "./errors.js";

export const CALIBRATION = { stream: 2 ** 32 - 2, dreams: 2048 }; // as mygo_edge.device: the dreams that a threshold is taken from
const FALSE_ALARMS = 0.05; // share of those dreams that the threshold would reject

/** The file with this role, task and precision; undefined stands for any precision. */
export function fileOf(manifest, role, task, precision) {
  const found = manifest.files.find(
    (entry) => entry.role === role && entry.task === task && (precision ?? entry.precision) === entry.precision,
  );
  require(found, `The manifest lists no ${role}${task ? ` of task ${task}` : ""}${precision ? ` in ${precision}` : ""}.`);
  return found;
}

export async function openSession(ort, bundle, { path }) {
  try {
    return await ort.InferenceSession.create(bundle.contents.get(path), { executionProviders: ["wasm"] });
  } catch (error) {
    throw new Refusal(`${path} cannot be loaded (${String(error.message ?? error).split("\n")[0]}).`);
  }
}

/** The novelty that few of the dreams exceed: a quantile, linear between the two nearest, as numpy's is. */
export function novelThreshold(novelties) {
  const sorted = Float64Array.from(novelties).sort(), place = (1 - FALSE_ALARMS) * (sorted.length - 1), low = Math.floor(place);
  return sorted[low] + (place - low) * ((sorted[low + 1] ?? sorted[low]) - sorted[low]);
}

/** Shares of classes from their logits. */
export function softmax(logits) {
  const largest = Math.max(...logits), powers = logits.map((logit) => Math.exp(logit - largest));
  const sum = powers.reduce((total, value) => total + value, 0);
  return powers.map((value) => value / sum);
}
