// Brush and eraser: NiiVue's drawing and undo, with a round tip that paints in one slice or in a ball.
import { Volume } from "./volumes.js";

/** What the strokes of a drawing mean, by their value. */
export const STROKES = { core: { brush: 1, eraser: 2 }, whole: { brush: 3, eraser: 4 } };
const COLORS = [[0, 0, 0, 0], [255, 92, 56, 200], [40, 110, 255, 190], [45, 212, 191, 200], [40, 110, 255, 190]];
const UNDO_LEVELS = 32;

export class Brush {
  /** `nv` shows a volume; `spacingMm` is between slices, rows and columns, null where it is unknown; `onChange()`: a
   * stroke was drawn or taken back. */
  constructor(nv, spacingMm, onChange) {
    this.nv = nv;
    this.hasSpacing = Boolean(spacingMm);
    nv.opts.maxDrawUndoBitmaps = UNDO_LEVELS;
    const [R, G, B, A] = [0, 1, 2, 3].map((part) => COLORS.map((color) => color[part]));
    nv.setDrawColormap({ R, G, B, A, I: [...COLORS.keys()], labels: COLORS.map(() => "") });
    nv.drawPt = (x, y, z, value, bitmap) => this.paint([x, y, z], value, bitmap ?? nv.drawBitmap);
    nv.drawPenLine = (from, to, value) => this.paintLine(from, to, value);
    nv.onDrawingChanged = (action) => {
      if (action === "draw") this.strokes += 1;
      onChange();
    };
    this.onChange = onChange;
    this.strokes = 0;
  }

  /** Draw with these settings from now on; `value` is one of STROKES, `radius` in mm, or in pixels without a spacing. */
  use({ value, radius, isBall }) {
    Object.assign(this, { radius, isBall });
    this.nv.setPenValue(value);
    if (!this.nv.opts.drawingEnabled) this.nv.setDrawingEnabled(true);
  }

  rest() {
    if (this.nv.opts.drawingEnabled) this.nv.setDrawingEnabled(false);
  }

  /** Draw one point at the crosshair, for readers without a pointer; `plane` is that of the slices, as NiiVue numbers it. */
  stamp(plane) {
    const { nv } = this;
    nv.drawPenAxCorSag = plane;
    this.paint(nv.frac2vox(nv.scene.crosshairPos).map(Math.round), nv.opts.penValue, nv.drawBitmap);
    nv.drawPenAxCorSag = -1;
    this.finishStroke();
    this.onChange();
  }

  finishStroke() {
    this.strokes += 1;
    this.nv.drawAddUndoBitmap();
    this.nv.refreshDrawing(true, false);
  }

  /** A copy of all strokes, for `restore`; null without any. */
  get copy() {
    return this.strokes ? this.nv.drawBitmap.slice() : null;
  }

  /** Draw what was copied from a drawing on the same grid; it counts as one stroke. */
  restore(copy) {
    this.nv.setDrawingEnabled(true);
    this.nv.drawBitmap.set(copy);
    this.finishStroke();
    this.rest();
  }

  /** Take the last stroke back. */
  undo() {
    if (!this.strokes) return;
    this.strokes -= 1;
    this.nv.drawUndo();
  }

  /** The strokes as a mask with the values of STROKES; null without any. */
  async strokesMask() {
    if (!this.strokes) return null;
    const { buffer, byteOffset, byteLength } = await this.nv.saveImage({ filename: "", isSaveDrawing: true });
    return new Volume(buffer.slice(byteOffset, byteOffset + byteLength)).values;
  }

  paintLine(from, to, value) {
    const steps = Math.max(1, ...from.map((each, axis) => Math.abs(to[axis] - each)));
    for (let step = 0; step <= steps; step++) {
      const at = from.map((each, axis) => Math.round(each + ((to[axis] - each) * step) / steps));
      this.paint(at, value, this.nv.drawBitmap);
    }
  }

  /** Set all voxels of NiiVue's drawing within the radius; at least the one that was hit. */
  paint(middle, value, bitmap) {
    const [, ...sizes] = this.nv.back.dims;
    const [, ...spacing] = this.hasSpacing ? this.nv.volumes[0].pixDimsRAS : [0, 1, 1, 1];
    const through = this.isBall ? -1 : 2 - this.nv.drawPenAxCorSag; // the axis that a disc does not extend along
    const reach = spacing.map((length, axis) => (axis === through ? 0 : Math.floor(this.radius / length)));
    for (let z = -reach[2]; z <= reach[2]; z++) {
      for (let y = -reach[1]; y <= reach[1]; y++) {
        for (let x = -reach[0]; x <= reach[0]; x++) {
          if (Math.hypot(x * spacing[0], y * spacing[1], z * spacing[2]) > this.radius && (x || y || z)) continue;
          const at = [middle[0] + x, middle[1] + y, middle[2] + z];
          if (at.some((each, axis) => each < 0 || each >= sizes[axis])) continue;
          bitmap[(at[2] * sizes[1] + at[1]) * sizes[0] + at[0]] = value;
        }
      }
    }
  }
}
