// Arrays of an .npz archive that is not compressed (PKZIP APPNOTE 4.3, NumPy's format 1.0): nothing else is read.

import { require } from "./errors.js";

const KINDS = { "<f4": Float32Array, "<f8": Float64Array, "<i8": BigInt64Array, "<f2": Uint16Array, "|i1": Int8Array, "|u1": Uint8Array };
const END = 0x06054b50, ENTRY = 0x02014b50, LOCAL = 0x04034b50;

/**
 * @returns {Map<string, {kind: string, shape: number[], data: TypedArray}>} arrays by name; kind: numpy's name of the
 *   type; halves ("<f2") come as their 16 bits, see `fromHalf`
 */
export function readNpz(bytes, where) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const text = (start, length) => new TextDecoder("latin1").decode(bytes.subarray(start, start + length));
  const arrays = new Map();
  try {
    let end = bytes.length - 22;
    while (end >= 0 && view.getUint32(end, true) !== END) end -= 1;
    require(end >= 0, `${where} is no archive`);
    let place = view.getUint32(end + 16, true);
    for (let left = view.getUint16(end + 10, true); left > 0; left -= 1) {
      require(view.getUint32(place, true) === ENTRY, `${where} is a damaged archive`);
      require(view.getUint16(place + 10, true) === 0, `${where} is compressed`);
      const name = text(place + 46, view.getUint16(place + 28, true));
      const local = view.getUint32(place + 42, true);
      require(view.getUint32(local, true) === LOCAL, `${where} is a damaged archive`);
      const start = local + 30 + view.getUint16(local + 26, true) + view.getUint16(local + 28, true);
      const size = view.getUint32(place + 24, true);
      require(start + size <= bytes.length, `${where} is cut short`);
      arrays.set(name.replace(/\.npy$/, ""), readNpy(bytes.slice(start, start + size), `${where}: ${name}`));
      place += 46 + view.getUint16(place + 28, true) + view.getUint16(place + 30, true) + view.getUint16(place + 32, true);
    }
  } catch (error) {
    require(!(error instanceof RangeError), `${where} is cut short`);
    throw error;
  }
  return arrays;
}

function readNpy(bytes, where) {
  const magic = [0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0]; // "\x93NUMPY", format 1.0
  require(magic.every((byte, index) => bytes[index] === byte), `${where} is no array in format 1.0`);
  const length = bytes[8] + 256 * bytes[9];
  const header = new TextDecoder("latin1").decode(bytes.subarray(10, 10 + length));
  const found = /^\{'descr': '([^']+)', 'fortran_order': (False|True), 'shape': \(([0-9, ]*)\), \}\s*$/.exec(header);
  require(found !== null && found[1] in KINDS, `${where} is no plain array of numbers that this page reads`);
  const shape = found[3].split(",").filter((side) => side.trim()).map(Number);
  const Kind = KINDS[found[1]];
  const elements = shape.reduce((product, side) => product * side, 1);
  require(bytes.length === 10 + length + elements * Kind.BYTES_PER_ELEMENT, `${where} does not hold what it claims`);
  const data = new Kind(bytes.slice(10 + length).buffer);
  return { kind: found[1], shape, data: found[2] === "True" ? byRows(data, shape, where) : data };
}

/** A matrix that lies column after column, row after row. */
function byRows(data, [rows, columns, ...more], where) {
  require(columns !== undefined && more.length === 0, `${where} is no matrix`);
  return data.map((_, index) => data[(index % columns) * rows + Math.floor(index / columns)]);
}

/** The number that 16 bits of half precision stand for (IEEE 754). */
export function fromHalf(bits) {
  const sign = bits & 0x8000 ? -1 : 1, exponent = (bits >> 10) & 31, fraction = bits & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (exponent ? (1024 + fraction) * 2 ** (exponent - 25) : fraction * 2 ** -24);
}

/** The 16 bits of the nearest number in half precision, halves to even. */
export function toHalf(value) {
  const size = Math.abs(value), sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  const step = 2 ** Math.max(-24, Math.floor(Math.log2(size || 1)) - 10), whole = size / step, low = Math.floor(whole);
  const steps = whole - low > 0.5 || (whole - low === 0.5 && low % 2) ? low + 1 : low;
  const rounded = steps * step; // exact, and perhaps the next power of two
  if (rounded < 2 ** -14) return sign | (rounded / 2 ** -24);
  const exponent = Math.floor(Math.log2(rounded));
  return sign | (exponent > 15 ? 0x7c00 : ((exponent + 15) << 10) | (rounded / 2 ** (exponent - 10) - 1024));
}

const SIZES = [2, 2, 2, 4, 4, 4, 4, 2, 2]; // bytes of what a file's two headers share

/** An .npz archive of arrays {kind, shape, data} by name, stored. */
export function writeNpz(arrays) {
  const parts = [], index = [];
  let place = 0;
  const add = (part) => parts.push(part) && (place += part.length);
  for (const [name, array] of arrays) {
    const content = npy(array), called = new TextEncoder().encode(`${name}.npy`), where = place;
    // version, flags, method, time and date (1980-01-01), checksum, size twice, length of the name and of nothing more
    const about = [20, 0, 0, 0x210000, crc32(content), content.length, content.length, called.length, 0];
    add(packed([LOCAL, ...about], [4, ...SIZES]));
    add(called);
    add(content);
    index.push(packed([ENTRY, 20, ...about, 0, 0, 0, 0, where], [4, 2, ...SIZES, 2, 2, 2, 4, 4]), called);
  }
  const from = place;
  index.forEach(add);
  add(packed([END, 0, 0, arrays.size, arrays.size, place - from, from, 0], [4, 2, 2, 2, 2, 4, 4, 2]));
  const archive = new Uint8Array(place);
  parts.reduce((at, part) => (archive.set(part, at), at + part.length), 0);
  return archive;
}

/** Little-endian integers of so many bytes each. */
function packed(values, sizes) {
  return Uint8Array.from(values.flatMap((value, place) => Array.from({ length: sizes[place] }, (_, byte) => Math.floor(value / 256 ** byte) % 256)));
}

function npy({ kind, shape, data }) {
  const sides = shape.length === 1 ? `${shape[0]},` : shape.join(", ");
  const said = `{'descr': '${kind}', 'fortran_order': False, 'shape': (${sides}), }`;
  const header = new TextEncoder().encode(`${said.padEnd(64 * Math.ceil((said.length + 11) / 64) - 11)}\n`);
  const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  return Uint8Array.from([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0, header.length % 256, header.length >> 8, ...header, ...bytes]);
}

function crc32(bytes) {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit += 1) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  }
  return (crc ^ 0xffffffff) >>> 0;
}
