// Files of what was learnt here, as mygo_edge.bundle.heads seals them: JSON, with a hash of its values.

/** JSON of these values and of their digest. */
export async function sealed(values) {
  // The hash is of the values with sorted keys, no white space, and nothing but ASCII: as Python writes JSON.
  const canonical = JSON.stringify(values, Object.keys(values).sort()).replace(
    /[\u007f-\uffff]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
  const found = new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(canonical)));
  const sha256 = Array.from(found, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return `${JSON.stringify({ ...values, sha256 }, null, 1)}\n`;
}

/** @param {Uint8Array} bytes */
export function base64(bytes) {
  let text = "";
  for (let at = 0; at < bytes.length; at += 8192) text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  return btoa(text);
}
