// What lies under the viewer: volumes fetched as NIfTI, their place, and what is marked of them.

const HEADER_BYTES = 352;
const UINT8 = 2;

/** A NIfTI volume in memory: its whole file, its values as (slice, row, column) lie in it, and whether it tells its
 * place in the patient. */
export class Volume {
  constructor(file) {
    this.file = file;
    const header = new DataView(file);
    this.columns = header.getInt16(42, true);
    this.rows = header.getInt16(44, true);
    this.slices = Math.max(header.getInt16(46, true), 1);
    const type = header.getInt16(70, true) === UINT8 ? Uint8Array : Uint16Array;
    this.values = new type(file, HEADER_BYTES, this.columns * this.rows * this.slices);
    this.placed = header.getInt16(252, true) > 0 || header.getInt16(254, true) > 0;
    this.affine = place(header);
  }

  /** A volume of 0 on the same grid, for marks. */
  blank() {
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

/** The affine as rows of (column, row, slice, 1) -> mm. Where the place in the patient is unknown, one is written
 * into the header that shows the slices as they came: rows downwards, the first slice lowest. */
function place(header) {
  if (header.getInt16(252, true) === 0 && header.getInt16(254, true) === 0) {
    const [across, down, apart] = [80, 84, 88].map((at) => Math.abs(header.getFloat32(at, true)) || 1);
    [-across, 0, 0, 0, 0, -down, 0, 0, 0, 0, apart, 0].forEach((value, index) =>
      header.setFloat32(280 + 4 * index, value, true),
    );
    header.setInt16(254, 2, true);
  }
  if (header.getInt16(254, true) > 0) {
    return [0, 1, 2].map((row) => [0, 1, 2, 3].map((column) => header.getFloat32(280 + 16 * row + 4 * column, true)));
  }
  return fromQuaternion(header);
}

/** The affine that a header's quaternion means, as the NIfTI-1 standard's method 2 has it. */
function fromQuaternion(header) {
  const at = (offset) => header.getFloat32(offset, true);
  const [b, c, d] = [at(256), at(260), at(264)];
  const a = Math.sqrt(Math.max(0, 1 - b * b - c * c - d * d));
  const turn = [
    [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
    [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
    [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
  ];
  const sizes = [at(80), at(84), at(88) * (at(76) < 0 ? -1 : 1)];
  return turn.map((row, index) => [...row.map((value, axis) => value * sizes[axis]), at(268 + 4 * index)]);
}

/** The volume at an address, unpacked; an Error with words where it cannot be had. */
export async function fetched(address, signal) {
  const answer = await fetch(address, { signal });
  if (!answer.ok) throw new Error(`This layer could not be fetched (${answer.status}).`);
  return new Volume(await new Response(answer.body.pipeThrough(new DecompressionStream("gzip"))).arrayBuffer());
}

/** Which plane of the patient the slices lie in: 0 axial, 1 coronal, 2 sagittal, as NiiVue counts them. */
export function planeOf(affine) {
  const along = affine.map((row) => Math.abs(row[2]));
  return 2 - along.indexOf(Math.max(...along));
}

/** Where a voxel lies, in mm. */
export function toMm(affine, voxel) {
  return affine.map((row) => row[0] * voxel[0] + row[1] * voxel[1] + row[2] * voxel[2] + row[3]);
}

/** The voxel (column, row, slice) at a place, not rounded: Cramer's rule on the affine. */
export function toVoxel(affine, mm) {
  const [u, v, w] = [0, 1, 2].map((column) => affine.map((row) => row[column]));
  const goal = affine.map((row, index) => mm[index] - row[3]);
  const triple = (p, q, r) =>
    p[0] * (q[1] * r[2] - q[2] * r[1]) - p[1] * (q[0] * r[2] - q[2] * r[0]) + p[2] * (q[0] * r[1] - q[1] * r[0]);
  const whole = triple(u, v, w);
  return [triple(goal, v, w) / whole, triple(u, goal, w) / whole, triple(u, v, goal) / whole];
}

/** Write into `target` what `source` marks from `least` on: all of it, or a line around it that covers none of it. */
export function mark(target, source, least, outline) {
  const { columns, rows, values } = source;
  const marked = target.values;
  if (!outline) {
    for (let at = 0; at < values.length; at++) marked[at] = values[at] >= least ? 1 : 0;
    return;
  }
  marked.fill(0);
  for (let at = 0; at < values.length; at++) {
    if (values[at] < least) continue;
    const column = at % columns;
    const row = Math.floor(at / columns) % rows;
    if (column > 0 && values[at - 1] < least) marked[at - 1] = 1;
    if (column < columns - 1 && values[at + 1] < least) marked[at + 1] = 1;
    if (row > 0 && values[at - columns] < least) marked[at - columns] = 1;
    if (row < rows - 1 && values[at + columns] < least) marked[at + columns] = 1;
  }
}

/** How many voxels of a slice are marked from `least` on. */
export function counted(source, least, slice) {
  const plane = source.columns * source.rows;
  let count = 0;
  for (let at = slice * plane; at < (slice + 1) * plane; at++) count += source.values[at] >= least ? 1 : 0;
  return count;
}
