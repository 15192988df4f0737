// Outlines of masks, drawn above the picture: closed in every plane, and equally thin at every zoom.

const LINE_WIDTH_PX = 1.6;
export const MASK_COLORS = [[255, 92, 56], [45, 212, 191]];

/** A canvas above the picture, with the outlines of masks. */
export class Outlines {
  constructor(element) {
    this.element = element;
    this.masks = [];
  }

  /** Outline these masks from now on; null in the place of one that is not outlined. */
  setMasks(masks) {
    this.masks = masks.map((mask) => mask && { mask, edges: new Map() });
  }

  /** Draw the masks in these planes; see `Canvas.planes`. */
  draw(planes) {
    const { element } = this;
    const scale = globalThis.devicePixelRatio || 1;
    const [width, height] = [element.clientWidth, element.clientHeight].map((length) => Math.round(length * scale));
    if (element.width !== width || element.height !== height) Object.assign(element, { width, height });
    const context = element.getContext("2d");
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, element.clientWidth, element.clientHeight);
    context.lineWidth = LINE_WIDTH_PX;
    for (const plane of planes) {
      context.save();
      context.beginPath();
      context.rect(...plane.frame);
      context.clip();
      this.masks.forEach((each, index) => {
        if (!each) return;
        context.strokeStyle = `rgb(${MASK_COLORS[index].join()})`;
        stroke(context, plane, edgesOf(each, plane));
      });
      context.restore();
    }
  }
}

/** The edges of a mask in a plane, found once for each plane. */
function edgesOf({ mask, edges }, { axis, index }) {
  const key = `${axis} ${index}`;
  if (!edges.has(key)) edges.set(key, findEdges(mask, axis, index));
  return edges.get(key);
}

/** The edges between marked and unmarked voxels in the plane `index` across an axis (0 column, 1 row, 2 slice), as
 * quadruples of the in-plane coordinates of both ends; voxel n reaches from n - 0.5 to n + 0.5. */
export function findEdges({ columns, rows, slices, values }, axis, index) {
  const sizes = [columns, rows, slices];
  const strides = [1, columns, columns * rows];
  const [across, down] = [0, 1, 2].filter((each) => each !== axis);
  const edges = [];
  if (index < 0 || index >= sizes[axis]) return edges;
  const at = (x, y) => x >= 0 && y >= 0 && x < sizes[across] && y < sizes[down] && values[index * strides[axis] + x * strides[across] + y * strides[down]] > 0;
  for (let y = 0; y < sizes[down]; y++) {
    for (let x = 0; x < sizes[across]; x++) {
      if (!at(x, y)) continue;
      const [left, right, top, bottom] = [x - 0.5, x + 0.5, y - 0.5, y + 0.5];
      if (!at(x - 1, y)) edges.push(left, top, left, bottom);
      if (!at(x + 1, y)) edges.push(right, top, right, bottom);
      if (!at(x, y - 1)) edges.push(left, top, right, top);
      if (!at(x, y + 1)) edges.push(left, bottom, right, bottom);
    }
  }
  return edges;
}

function stroke(context, { origin, across, down }, edges) {
  const point = (x, y) => [origin[0] + x * across[0] + y * down[0], origin[1] + x * across[1] + y * down[1]];
  context.beginPath();
  for (let at = 0; at < edges.length; at += 4) {
    context.moveTo(...point(edges[at], edges[at + 1]));
    context.lineTo(...point(edges[at + 2], edges[at + 3]));
  }
  context.stroke();
}
