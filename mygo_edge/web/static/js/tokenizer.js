// A tokenizer.json as mygo_edge.bundle.text reads it, for the kinds that trunks here have: WordPiece, BPE with merges of
// characters, and whole words. What this page does not read is refused by name; a device reads more.

import { Refusal, require } from "./errors.js";
import { modelOf } from "./subwords.js";

const CHARACTERS_A_TOKEN = 16; // of a text that are looked at, as on a device
const MAX_PARTS = 16;

export class Tokenizer {
  /** @param {Uint8Array} bytes of tokenizer.json; maxTokens of a part, special ones included; where names the file */
  constructor(bytes, maxTokens, where, parts = 1) {
    let top;
    try {
      top = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
    } catch {
      throw new Refusal(`${where} is no JSON.`);
    }
    const unread = (what) => {
      throw new Refusal(`${where} has ${what}, which this page does not read; use the bundle on a device.`);
    };
    try {
      this.normalize = normalizer(top.normalizer, unread);
      this.split = preTokenizer(top.pre_tokenizer, unread);
      this.model = modelOf(top.model, unread);
      this.template = template(top.post_processor, unread);
      this.added = addedTokens(top.added_tokens ?? [], this.normalize, unread);
    } catch (error) {
      require(!(error instanceof TypeError), `${where} is no tokenizer: a part of it is missing.`);
      throw error;
    }
    this.padId = Number.isInteger(top.padding?.pad_id) ? top.padding.pad_id : 0;
    Object.assign(this, { maxTokens, parts });
    this.room = maxTokens - this.template.before.length - this.template.after.length;
    require(this.room > 0, `${where} leaves no token for a text.`);
  }

  /** The ids of a text, a list a part; an empty text has one part, which may have none. */
  ids(text) {
    const characters = Array.from(text.toWellFormed()).slice(0, CHARACTERS_A_TOKEN * this.maxTokens * this.parts).join("");
    const found = [];
    for (const raw of separated(characters, this.added.raw)) {
      if (typeof raw === "number") found.push(raw);
      else for (const part of separated(this.normalize(raw), this.added.normalized)) {
        if (typeof part === "number") found.push(part);
        else for (const word of this.split(part)) if (word) found.push(...this.model(word));
      }
    }
    const count = Math.min(this.parts, Math.max(1, Math.ceil(found.length / this.room)));
    const part = (index) => found.slice(index * this.room, (index + 1) * this.room);
    return Array.from({ length: count }, (_, index) => [...this.template.before, ...part(index), ...this.template.after]);
  }

  /** Ids and mask of lists of ids, filled up to the longest: {ids, mask, dims}. */
  padded(lists) {
    const tokens = Math.max(1, ...lists.map(({ length }) => length));
    const ids = new BigInt64Array(lists.length * tokens).fill(BigInt(this.padId)), mask = new BigInt64Array(ids.length);
    lists.forEach((list, row) => list.forEach((id, column) => {
      ids[row * tokens + column] = BigInt(id);
      mask[row * tokens + column] = 1n;
    }));
    return { ids, mask, dims: [lists.length, tokens] };
  }
}

/** A text cut where it holds an added token: strings, and numbers for the tokens; of several, the first and longest. */
function* separated(text, tokens) {
  let rest = text;
  while (tokens.length) {
    const places = tokens.map(({ content, id }) => ({ at: rest.indexOf(content), content, id })).filter(({ at }) => at >= 0);
    if (!places.length) break;
    const { at, content, id } = places.reduce((best, next) =>
      next.at < best.at || (next.at === best.at && next.content.length > best.content.length) ? next : best);
    if (at) yield rest.slice(0, at);
    yield id;
    rest = rest.slice(at + content.length);
  }
  if (rest) yield rest;
}

function addedTokens(tokens, normalize, unread) {
  const found = { raw: [], normalized: [] };
  for (const { content, id, single_word: single, lstrip, rstrip, normalized } of tokens) {
    if (single || lstrip || rstrip) unread("an added token that looks at what is around it");
    found[normalized ? "normalized" : "raw"].push({ content: normalized ? normalize(content) : content, id });
  }
  return found;
}

/** The special tokens before and after a text. */
function template(part, unread) {
  if (!part) return { before: [], after: [] };
  if (part.type !== "TemplateProcessing") unread(`a post-processor of type ${part.type}`);
  const ids = part.single.map((item) => (item.Sequence ? null : part.special_tokens[item.SpecialToken.id].ids));
  const at = ids.indexOf(null);
  if (at < 0 || ids.lastIndexOf(null) !== at) unread("a template that does not hold a text once");
  return { before: ids.slice(0, at).flat(), after: ids.slice(at + 1).flat() };
}

function inOrder(parts, make, unread) {
  require(Array.isArray(parts) && parts.length <= MAX_PARTS, "A tokenizer has too many parts.");
  return parts.map((part) => make(part, unread));
}

const WHITE = /\p{White_Space}/u, WHITES = /\p{White_Space}+/u;

/** A function from text to text. */
function normalizer(part, unread) {
  switch (part?.type) {
    case undefined: return (text) => text;
    case "Sequence": {
      const steps = inOrder(part.normalizers, normalizer, unread);
      return (text) => steps.reduce((changed, step) => step(changed), text);
    }
    case "BertNormalizer": return bertNormalizer(part);
    case "Lowercase": return lowercase;
    case "NFC": case "NFD": case "NFKC": case "NFKD": return (text) => text.normalize(part.type);
    case "StripAccents": return (text) => text.replace(/\p{M}/gu, "");
    case "Prepend": return (text) => (text ? part.prepend + text : text);
    case "Replace":
      if (typeof part.pattern?.String !== "string") unread("a replacement by a pattern");
      return (text) => text.replaceAll(part.pattern.String, () => part.content);
    default: return unread(`a normalizer of type ${part.type}`);
  }
}

/** Character by character: the end of a word has no say in what becomes of it. */
const lowercase = (text) => Array.from(text, (character) => character.toLowerCase()).join("");

const BERT_REMOVED = /[\0\ufffd]|[\p{Cc}\p{Cf}\p{Co}]/u;
const IDEOGRAPH = /[\u4e00-\u9fff\u3400-\u4dbf\u{20000}-\u{2a6df}\u{2a700}-\u{2b73f}\u{2b740}-\u{2b81f}\u{2b920}-\u{2ceaf}\uf900-\ufaff\u{2f800}-\u{2fa1f}]/u;

function bertNormalizer({ clean_text: clean, handle_chinese_chars: apart, strip_accents: strip, lowercase: lower }) {
  const white = (character) => /[\t\n\r]/.test(character) || WHITE.test(character);
  return (text) => {
    let characters = Array.from(text);
    if (clean) {
      characters = characters
        .filter((character) => /[\t\n\r]/.test(character) || !BERT_REMOVED.test(character))
        .map((character) => (white(character) ? " " : character));
    }
    if (apart) characters = characters.map((character) => (IDEOGRAPH.test(character) ? ` ${character} ` : character));
    let changed = characters.join("");
    if (strip ?? lower) changed = changed.normalize("NFD").replace(/\p{Mn}/gu, "");
    return lower ? lowercase(changed) : changed;
  };
}

/** A function from text to words. */
function preTokenizer(part, unread) {
  switch (part?.type) {
    case undefined: return (text) => [text];
    case "Sequence": {
      const steps = inOrder(part.pretokenizers, preTokenizer, unread);
      return (text) => steps.reduce((words, step) => words.flatMap(step), [text]);
    }
    case "BertPreTokenizer": return (text) => text.split(WHITES).flatMap(punctuationApart);
    case "Punctuation":
      if ((part.behavior ?? "Isolated") !== "Isolated") unread("punctuation that is not split off alone");
      return punctuationApart;
    case "Whitespace": return (text) => text.match(/[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]+|[^\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}\p{White_Space}]+/gu) ?? [];
    case "WhitespaceSplit": return (text) => text.split(WHITES);
    default: return unread(`a pre-tokenizer of type ${part.type}`);
  }
}

/** Words and single marks. ASCII's symbols count as punctuation. */
const punctuationApart = (word) => word.match(/[!-/:-@[-`{-~\p{P}]|[^!-/:-@[-`{-~\p{P}]+/gu) ?? [];
