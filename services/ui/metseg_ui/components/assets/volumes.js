// NIfTI volumes in the browser: fetching and geometry.

const HEADER_BYTES = 352;
const UINT8 = 2;

/** A NIfTI volume in memory: the whole file, its values in (slice, row, column) order, and whether the header gives an
 * orientation in the patient. */
export class Volume {
  constructor(file) {
    this.file = file;
    const header = new DataView(file);
    this.columns = header.getInt16(42, true);
    this.rows = header.getInt16(44, true);
    this.slices = Math.max(header.getInt16(46, true), 1);
    const type = header.getInt16(70, true) === UINT8 ? Uint8Array : Uint16Array;
    this.values = new type(file, HEADER_BYTES, this.columns * this.rows * this.slices);
    this.isOriented = header.getInt16(252, true) > 0 || header.getInt16(254, true) > 0;
    this.affine = readAffine(header);
  }

  /** A uint8 volume of zeros on the same grid, for a mask. */
  emptyMask() {
    const file = new ArrayBuffer(HEADER_BYTES + this.values.length);
    new Uint8Array(file).set(new Uint8Array(this.file, 0, HEADER_BYTES));
    const header = new DataView(file);
    header.setInt16(70, UINT8, true);
    header.setInt16(72, 8, true);
    header.setFloat32(112, 1, true);
    header.setFloat32(116, 0, true);
    return new Volume(file);
  }
}

/** Rows of the affine (column, row, slice, 1) -> mm. If the header gives no orientation, one is written into it that
 * shows the slices as they came: rows downwards, the first slice lowest. */
function readAffine(header) {
  const [qformCode, sformCode] = [252, 254].map((offset) => header.getInt16(offset, true));
  if (qformCode === 0 && sformCode === 0) {
    const [columnMm, rowMm, sliceMm] = [80, 84, 88].map((offset) => Math.abs(header.getFloat32(offset, true)) || 1);
    [-columnMm, 0, 0, 0, 0, -rowMm, 0, 0, 0, 0, sliceMm, 0].forEach((value, index) =>
      header.setFloat32(280 + 4 * index, value, true),
    );
    header.setInt16(254, 2, true);
  }
  if (header.getInt16(254, true) > 0) {
    return [0, 1, 2].map((row) => [0, 1, 2, 3].map((column) => header.getFloat32(280 + 16 * row + 4 * column, true)));
  }
  return affineFromQuaternion(header);
}

/** The affine of a header's quaternion (NIfTI-1, method 2). */
function affineFromQuaternion(header) {
  const read = (offset) => header.getFloat32(offset, true);
  const [b, c, d] = [read(256), read(260), read(264)];
  const a = Math.sqrt(Math.max(0, 1 - b * b - c * c - d * d));
  const rotation = [
    [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
    [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
    [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
  ];
  const spacing = [read(80), read(84), read(88) * (read(76) < 0 ? -1 : 1)];
  return rotation.map((row, index) => [...row.map((value, axis) => value * spacing[axis]), read(268 + 4 * index)]);
}

/** Fetch and decompress a volume; an Error with a message for the reader if that fails. */
export async function fetchVolume(url, signal) {
  const response = await fetch(url, { signal });
  if (!response.ok) throw new Error(`This layer could not be loaded (HTTP ${response.status}).`);
  return new Volume(await new Response(response.body.pipeThrough(new DecompressionStream("gzip"))).arrayBuffer());
}

/** The promise that `start` once gave for a key; forgotten if it is rejected, so that the next call starts again. */
export function remembered(promises, key, start) {
  if (!promises.has(key)) {
    const promise = start();
    promises.set(key, promise);
    promise.catch(() => promises.delete(key));
  }
  return promises.get(key);
}

/** The anatomical plane of the slices, as NiiVue numbers them: 0 axial, 1 coronal, 2 sagittal. */
export function slicePlane(affine) {
  const normal = affine.map((row) => Math.abs(row[2]));
  return 2 - normal.indexOf(Math.max(...normal));
}

/** The position of a voxel (column, row, slice), in mm. */
export function toMm(affine, voxel) {
  return affine.map((row) => row[0] * voxel[0] + row[1] * voxel[1] + row[2] * voxel[2] + row[3]);
}

/** The voxel (column, row, slice) at a position, not rounded: Cramer's rule on the affine. */
export function toVoxel(affine, mm) {
  const [u, v, w] = [0, 1, 2].map((column) => affine.map((row) => row[column]));
  const offset = affine.map((row, index) => mm[index] - row[3]);
  const determinant = (p, q, r) =>
    p[0] * (q[1] * r[2] - q[2] * r[1]) - p[1] * (q[0] * r[2] - q[2] * r[0]) + p[2] * (q[0] * r[1] - q[1] * r[0]);
  const whole = determinant(u, v, w);
  return [determinant(offset, v, w) / whole, determinant(u, offset, w) / whole, determinant(u, v, offset) / whole];
}
