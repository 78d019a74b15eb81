// From a word to the ids of its parts: the models of a tokenizer.

import { require } from "./errors.js";

/** A function from a word to ids, of a tokenizer's `model`. `unread` refuses what this page does not read. */
export function modelOf(model, unread) {
  const make = { WordLevel: wordLevel, WordPiece: wordPiece, BPE: bytePairs }[model.type];
  if (!make) unread(`a model of type ${model.type}`);
  if (model.dropout) unread("a model with dropout");
  const vocabulary = new Map(Object.entries(model.vocab));
  require([...vocabulary.values()].every((id) => Number.isInteger(id) && id >= 0), "A tokenizer has an id that is no number.");
  return make(model, vocabulary, unread);
}

function wordLevel({ unk_token: unknown }, vocabulary) {
  const other = vocabulary.has(unknown) ? [vocabulary.get(unknown)] : [];
  return (word) => (vocabulary.has(word) ? [vocabulary.get(word)] : other);
}

/** The longest part that is known, and again from there (Schuster and Nakajima 2012). */
function wordPiece({ unk_token: unknown, continuing_subword_prefix: prefix = "##", max_input_chars_per_word: most = 100 }, vocabulary) {
  const other = [vocabulary.get(unknown)];
  require(other[0] !== undefined, "A tokenizer has no token for what is unknown.");
  return (word) => {
    const characters = Array.from(word), ids = [];
    if (characters.length > most) return other;
    for (let start = 0; start < characters.length; ) {
      const part = (end) => vocabulary.get((start ? prefix : "") + characters.slice(start, end).join(""));
      let end = characters.length;
      while (end > start && part(end) === undefined) end -= 1;
      if (end === start) return other;
      ids.push(part(end));
      start = end;
    }
    return ids;
  };
}

/** Characters, of which the pairs that were learnt first are joined first (Sennrich et al. 2016). */
function bytePairs(model, vocabulary, unread) {
  const { merges, unk_token: unknown, fuse_unk: fused, byte_fallback: bytes, ignore_merges: whole } = model;
  if (model.continuing_subword_prefix || model.end_of_word_suffix) unread("merges with marks inside words");
  const pairs = new Map(); // a pair of ids -> its rank, and the id of both together
  merges.forEach((merge, rank) => {
    const [one, other] = Array.isArray(merge) ? merge : merge.split(" ");
    const ids = [one, other, one + other].map((token) => vocabulary.get(token));
    require(!ids.includes(undefined), "A tokenizer merges what is not in its vocabulary.");
    pairs.set(key(ids[0], ids[1]), { rank, id: ids[2] });
  });
  const other = vocabulary.get(unknown ?? "");
  const encoder = new TextEncoder();
  const spelt = (character) =>
    Array.from(encoder.encode(character), (byte) => vocabulary.get(`<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`));
  return (word) => {
    if (whole && vocabulary.has(word)) return [vocabulary.get(word)];
    const ids = [];
    let pending = false; // whether the last id stands for unknown characters
    for (const character of word) {
      let found = vocabulary.has(character) ? [vocabulary.get(character)] : bytes ? spelt(character) : [undefined];
      const known = !found.includes(undefined);
      if (!known) found = other === undefined || (fused && pending) ? [] : [other];
      ids.push(...found);
      pending = !known;
    }
    return merged(ids, pairs);
  };
}

const key = (one, other) => one * 2 ** 22 + other; // ids are below 2^21

/** Join pairs, the lowest rank first and the leftmost of these, until none is left: by a heap, in n log n. */
function merged(ids, pairs) {
  const next = ids.map((_, at) => (at + 1 < ids.length ? at + 1 : -1)), before = ids.map((_, at) => at - 1);
  const current = [...ids], heap = new Heap();
  const offer = (at) => {
    const pair = at >= 0 && next[at] >= 0 ? pairs.get(key(current[at], current[next[at]])) : undefined;
    if (pair) heap.push({ rank: pair.rank, at, id: pair.id });
  };
  ids.forEach((_, at) => offer(at));
  for (let best = heap.pop(); best; best = heap.pop()) {
    const { at, id } = best, right = next[at];
    if (current[at] === -1 || right < 0 || pairs.get(key(current[at], current[right]))?.id !== id) continue; // joined since
    [current[at], current[right]] = [id, -1];
    next[at] = next[right];
    if (next[at] >= 0) before[next[at]] = at;
    offer(before[at]);
    offer(at);
  }
  return current.filter((id) => id !== -1);
}

/** The lowest rank first, and of equal ranks the leftmost. */
class Heap {
  items = [];

  push(item) {
    const { items } = this;
    let at = items.push(item) - 1;
    for (let up = (at - 1) >> 1; at > 0 && earlier(item, items[up]); up = (at - 1) >> 1) {
      items[at] = items[up];
      at = up;
    }
    items[at] = item;
  }

  pop() {
    const { items } = this, top = items[0], last = items.pop();
    if (items.length === 0) return top;
    let at = 0;
    for (let down = 1; down < items.length; down = 2 * at + 1) {
      if (down + 1 < items.length && earlier(items[down + 1], items[down])) down += 1;
      if (!earlier(items[down], last)) break;
      items[at] = items[down];
      at = down;
    }
    items[at] = last;
    return top;
  }
}

const earlier = (a, b) => a.rank < b.rank || (a.rank === b.rank && a.at < b.at);
