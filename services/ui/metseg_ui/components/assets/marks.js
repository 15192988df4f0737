// Marks above the picture: the diameters that were measured, and a scale bar.
import { pointIn } from "./outlines.js";

const SLICES = 2; // the axis across the slices
const BAR_MM = [100, 50, 20, 10, 5, 2, 1];
const MAX_BAR_PX = 110;
const MARGIN_PX = 14;
const TICK_PX = 4;

/** Draw the two diameters of each lesion in the slice in which they were measured. */
export function drawDiameters(context, plane, lesions) {
  if (plane.axis !== SLICES) return;
  context.lineWidth = 1.2;
  context.strokeStyle = "#fff";
  context.beginPath();
  for (const { diameters } of lesions) {
    if (diameters.slice !== plane.index) continue;
    for (const line of [diameters.long, diameters.perpendicular]) {
      const [from, to] = line.map(([row, column]) => pointIn(plane, column, row));
      context.moveTo(...from);
      context.lineTo(...to);
    }
  }
  context.stroke();
}

/** Draw a bar of known length into the lower right corner of a plane. `spacingMm` is between slices, rows, columns. */
export function drawScaleBar(context, { axis, frame: [left, top, width, height], across }, spacingMm) {
  const first = axis === 0 ? 1 : 0; // the voxel axis that `across` goes along
  const pxPerMm = Math.hypot(...across) / spacingMm[2 - first];
  const longest = Math.min(MAX_BAR_PX, width / 3);
  const mm = BAR_MM.find((each) => each * pxPerMm <= longest);
  if (!mm) return;
  const [right, bottom] = [left + width - MARGIN_PX, top + height - MARGIN_PX];
  const start = right - mm * pxPerMm;
  context.lineWidth = 2;
  context.strokeStyle = context.fillStyle = "#fff";
  context.beginPath();
  context.moveTo(start, bottom - TICK_PX);
  context.lineTo(start, bottom);
  context.lineTo(right, bottom);
  context.lineTo(right, bottom - TICK_PX);
  context.stroke();
  context.font = "600 12px sans-serif";
  context.textAlign = "right";
  context.fillText(`${mm} mm`, right, bottom - TICK_PX - 3);
}
