// Arrays of an .npz archive that is not compressed (PKZIP APPNOTE 4.3, NumPy's format 1.0): nothing else is read.

import { require } from "./errors.js";

const KINDS = { "<f4": Float32Array, "<i8": BigInt64Array };
const END = 0x06054b50, ENTRY = 0x02014b50, LOCAL = 0x04034b50;

/** @returns {Map<string, {shape: number[], data: Float32Array|BigInt64Array}>} arrays by name */
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
  const found = /^\{'descr': '([^']+)', 'fortran_order': False, 'shape': \(([0-9, ]*)\), \}\s*$/.exec(header);
  require(found !== null && found[1] in KINDS, `${where} is no plain array of float32 or int64`);
  const shape = found[2].split(",").filter((side) => side.trim()).map(Number);
  const Kind = KINDS[found[1]];
  const elements = shape.reduce((product, side) => product * side, 1);
  require(bytes.length === 10 + length + elements * Kind.BYTES_PER_ELEMENT, `${where} does not hold what it claims`);
  return { shape, data: new Kind(bytes.slice(10 + length).buffer) };
}
