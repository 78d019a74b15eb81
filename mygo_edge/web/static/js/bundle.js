// Read the live version of a bundle beside the page. Every byte is checked before anything uses it.

import { Refusal, require } from "./errors.js";
import { parseManifest, partEntries } from "./manifest.js";

const VERSION = /^v[0-9]{4,9}(\.[0-9]{1,4})?$/;

/**
 * @param {string} folder address of the bundle
 * @param {string|null} publicKey base64 of an Ed25519 SubjectPublicKeyInfo, or null for none
 * @returns {Promise<{version: string, manifest: object, contents: Map<string, Uint8Array>, signature: string}>}
 *   signature says in words what was found
 */
export async function readBundle(folder, publicKey) {
  require(globalThis.crypto?.subtle, "This browser checks nothing over plain http: open the page over https or localhost.");
  const version = new TextDecoder().decode(await fetched(`${folder}/current`, 64)).trim();
  require(VERSION.test(version), "The bundle does not name its live version.");
  const data = await fetched(`${folder}/${version}/manifest.json`, 2 ** 22);
  const signature = await checkSignature(`${folder}/${version}/manifest.sig`, data, publicKey);
  const where = `${version}/manifest.json`;
  const read = async (entry) => [entry.path, await verified(`${folder}/${version}/${entry.path}`, entry)];
  const parts = new Map(await Promise.all(partEntries(data, where).map(read)));
  const manifest = parseManifest(data, where, parts);
  const others = manifest.files.filter(({ path }) => !parts.has(path));
  const contents = new Map([...parts, ...(await Promise.all(others.map(read)))]);
  return { version, manifest, contents, signature };
}

/** The bytes at an address, if they have this size and SHA-256. Throws Refusal. */
export async function verified(address, { path, size, sha256 }) {
  const data = await fetched(address, size ?? Infinity);
  require(size === undefined || data.length === size, `${path} has ${data.length} bytes, the manifest says ${size}.`);
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", data));
  const found = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
  require(found === sha256, `${path} does not have the hash in the manifest: it is damaged, or was changed.`);
  return data;
}

async function checkSignature(address, data, publicKey) {
  if (publicKey === null) return "not checked, the page was made without a key";
  let key;
  const spki = Uint8Array.from(atob(publicKey), (character) => character.charCodeAt(0));
  try {
    key = await crypto.subtle.importKey("spki", spki, { name: "Ed25519" }, false, ["verify"]);
  } catch (error) {
    if (error.name !== "NotSupportedError") throw new Refusal("The page's public key is no Ed25519 key.");
    return "not checked, this browser has no Ed25519; hashes alone were";
  }
  const signature = await fetched(address, 64);
  const holds = await crypto.subtle.verify({ name: "Ed25519" }, key, signature, data);
  require(holds, "The manifest is not what the owner of the page's key signed.");
  return "made by the owner of the page's key";
}

async function fetched(address, limit) {
  let answer;
  try {
    answer = await fetch(address);
  } catch {
    throw new Refusal(`${address} cannot be fetched.`);
  }
  require(answer.ok, `${address} is missing (status ${answer.status}).`);
  const data = new Uint8Array(await answer.arrayBuffer());
  require(data.length <= limit, `${address} has ${data.length} bytes, at most ${limit} are expected.`);
  return data;
}
