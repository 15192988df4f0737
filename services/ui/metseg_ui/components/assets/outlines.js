// Outlines of masks, drawn above the picture: closed in every plane, and equally thin at every zoom.

const LINE_WIDTH_PX = 1.6;

/** A canvas above the picture, with the outlines of masks. */
export class Outlines {
  /** `colors` has those of `lesions`, by the values of the first mask, of the `second` and of the model's `own`; `drawMarks(context,
   * plane)` draws above the outlines. */
  constructor(element, { lesions, second, own }, drawMarks) {
    this.element = element;
    this.colors = [lesions, [second], [own]];
    this.drawMarks = drawMarks;
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
    for (const plane of planes) {
      context.save();
      context.beginPath();
      context.rect(...plane.frame);
      context.clip();
      [...this.masks.entries()].reverse().forEach(([index, each]) => {
        if (!each) return;
        context.lineWidth = LINE_WIDTH_PX;
        for (const [value, edges] of edgesOf(each, plane)) {
          context.strokeStyle = `rgb(${this.colors[index][value - 1].join()})`;
          stroke(context, plane, edges);
        }
      });
      this.drawMarks(context, plane);
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

/** The edges of each value of a mask in the plane `index` across an axis (0 column, 1 row, 2 slice): a map from the value
 * to quadruples of the in-plane coordinates of both ends; voxel n reaches from n - 0.5 to n + 0.5. */
export function findEdges({ columns, rows, slices, values }, axis, index) {
  const sizes = [columns, rows, slices];
  const strides = [1, columns, columns * rows];
  const [across, down] = [0, 1, 2].filter((each) => each !== axis);
  const found = new Map();
  if (index < 0 || index >= sizes[axis]) return found;
  const at = (x, y) =>
    x >= 0 && y >= 0 && x < sizes[across] && y < sizes[down] ? values[index * strides[axis] + x * strides[across] + y * strides[down]] : 0;
  for (let y = 0; y < sizes[down]; y++) {
    for (let x = 0; x < sizes[across]; x++) {
      const value = at(x, y);
      if (!value) continue;
      if (!found.has(value)) found.set(value, []);
      const edges = found.get(value);
      const [left, right, top, bottom] = [x - 0.5, x + 0.5, y - 0.5, y + 0.5];
      if (at(x - 1, y) !== value) edges.push(left, top, left, bottom);
      if (at(x + 1, y) !== value) edges.push(right, top, right, bottom);
      if (at(x, y - 1) !== value) edges.push(left, top, right, top);
      if (at(x, y + 1) !== value) edges.push(left, bottom, right, bottom);
    }
  }
  return found;
}

/** Where a voxel of a plane is drawn, in CSS pixels of the canvas; `x` and `y` are its coordinates in the plane. */
export function pointIn({ origin, across, down }, x, y) {
  return [origin[0] + x * across[0] + y * down[0], origin[1] + x * across[1] + y * down[1]];
}

function stroke(context, plane, edges) {
  context.beginPath();
  for (let at = 0; at < edges.length; at += 4) {
    context.moveTo(...pointIn(plane, edges[at], edges[at + 1]));
    context.lineTo(...pointIn(plane, edges[at + 2], edges[at + 3]));
  }
  context.stroke();
}
