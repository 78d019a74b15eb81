// The frozen trunk of a bundle, and how its input is prepared: mygo_edge.device.trunk in a browser.

import { require } from "./errors.js";
import { examplePhotos, photoFeed, preparePhoto } from "./photos.js";
import { Tokenizer } from "./tokenizer.js";

const TINY = 1e-12; // below any norm of a vector that is not 0
const SENTENCES = [
  "The quick brown fox jumps over the lazy dog.",
  "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich; 3,141.59 (π) & 東京!",
];

export class Trunk {
  /** @param ort onnxruntime-web; session of the graph; form the manifest's trunk; bundle as `readBundle` gives it */
  constructor(ort, session, form, bundle) {
    Object.assign(this, { ort, session, form, kind: form.input.kind === "text" ? "texts" : "photos" });
    const names = session.inputNames;
    if (this.kind === "photos") {
      require(names.length === 1, `${form.file} takes more than photos.`);
      this.floats = session.inputMetadata[0].type === "float32";
    } else {
      this.tokenizer = new Tokenizer(bundle.contents.get(form.input.tokenizer), form.input.max_tokens, form.input.tokenizer, form.input.parts);
      this.mask = names.find((name) => name.includes("mask"));
      [this.ids] = names.filter((name) => name !== this.mask && !name.includes("type"));
      require(this.mask && this.ids, `${form.file} does not take token ids and their mask.`);
    }
  }

  /** A picture as it goes through the trunk; it is kept as such, and shown. */
  prepare(picture) {
    return preparePhoto(picture, this.form.input);
  }

  /** Inputs that are always the same, to measure with and to test with. */
  examples(n) {
    return this.kind === "photos" ? examplePhotos(n, this.form.input) : Array.from({ length: n }, (_, index) => SENTENCES[index % SENTENCES.length]);
  }

  /** Features of inputs, one vector each. @returns {Promise<Float32Array[]>} */
  async vectors(inputs) {
    if (this.kind === "photos") return this.run(inputs);
    const lists = inputs.map((text) => this.tokenizer.ids(text)), found = await this.run(lists.flat());
    let first = 0;
    return lists.map((parts) => averaged(found.slice(first, (first += parts.length)), parts));
  }

  /** Features of photos, or of parts of texts. */
  async run(inputs) {
    const { file, output, features } = this.form, found = await this.session.run(this.feed(inputs), [output]);
    const { data, dims, type } = found[output];
    const fits = type === "float32" && dims.length === 2 && dims[0] === inputs.length && dims[1] === features;
    require(fits && data.every(Number.isFinite), `${file} does not make ${features} finite features.`);
    return inputs.map((_, row) => data.slice(row * features, (row + 1) * features));
  }

  feed(inputs) {
    const { Tensor } = this.ort;
    if (this.kind === "photos") {
      const { type, data, dims } = photoFeed(inputs, this.form.input, this.floats);
      return { [this.session.inputNames[0]]: new Tensor(type, data, dims) };
    }
    const { ids, mask, dims } = this.tokenizer.padded(inputs);
    const given = { [this.ids]: ids, [this.mask]: mask };
    const feed = this.session.inputNames.map((name) => [name, new Tensor("int64", given[name] ?? new BigInt64Array(ids.length), dims)]);
    return Object.fromEntries(feed); // what is neither says of which sentence a token is: all of the first
  }
}

/** The vector of a text from those of its parts, of which the k-th counts by its tokens / k: `mygo_edge.bundle.text_parts`. */
function averaged(vectors, parts) {
  if (vectors.length === 1) return vectors[0];
  const total = new Float64Array(vectors[0].length);
  vectors.forEach((vector, place) => vector.forEach((value, index) => (total[index] += (value * parts[place].length) / (place + 1))));
  const norm = Math.sqrt(total.reduce((sum, value) => sum + value * value, 0)), scale = Math.sqrt(total.length) / Math.max(norm, TINY);
  return Float32Array.from(total, (value) => value * scale);
}
