// What is written about and on the picture: its description, the lesions' numbers, and both in the PNG that is saved.
import { createElement } from "./controls.js";
import { diagonalVoxels } from "./lesions.js";
import { pointIn } from "./outlines.js";

/** The texts about what a viewer shows: a note on a preview, the position, and all in words for screen readers. */
export function describe(viewer) {
  const { data, scene, settings, slice } = viewer;
  const [, sequence] = data.channels.find(([value]) => value === settings.channel);
  const isPreview = scene.isPreview(settings);
  const position = `Slice ${slice + 1} of ${data.sliceCount}, ${sequence}`;
  const selected = !isPreview && viewer.isHere(viewer.lesion) ? `, ${describeLesion(data, viewer.lesion)}` : "";
  const measuredMm = viewer.ready && settings.hasRuler ? scene.canvas.measuredMm : undefined;
  const ruler = measuredMm === undefined ? "" : `, ruler ${measuredMm.toFixed(1)} mm`;
  const note = isPreview ? describePreview(viewer) : "";
  const area = scene.markedPixels(slice);
  const numbers = isPreview ? [] : data.lesionsBySlice[slice];
  const marked = numbers.length ? `${nameOf(data, numbers.length)} ${numbers.join(", ")}` : "an area";
  const description = `${note}${position}. ${area ? `Marked: ${marked} (${area} px).` : `No ${data.finding} marked.`}`;
  return { note, position: position + selected + ruler, description };
}

function describeLesion({ finding, lesions }, number) {
  const { size, label } = lesions.find((lesion) => lesion.number === number);
  return `${finding} ${number} of ${lesions.length}${label ? ` (${label})` : ""}, ${size}`;
}

/** What a reader calls so many of the lesions. */
const nameOf = ({ finding, findings }, count) => (count === 1 ? finding : findings);

function describePreview({ data, settings, drawn, scene }) {
  const seeds = data.seedThreshold > data.threshold ? ` with a peak of ${data.seedThreshold.toFixed(2)}` : "";
  const stored = `stored: ${data.threshold.toFixed(2)}${seeds}, ${data.lesions.length}`;
  const preview = `Preview at threshold ${settings.threshold.toFixed(2)}`;
  if (drawn.threshold !== settings.threshold) return `${preview} (${stored}). `;
  const count = scene.components.length;
  const smallest = Math.ceil(data.minVoxels);
  const filter = smallest > 1 ? ` Areas below ${smallest} px are left out, as in a result. ` : " ";
  return `${preview}: ${count} ${nameOf(data, count)} (${stored}).${filter}`;
}

/** The numbers of the lesions in the slice, and where in a pane: at the upper right corner of each as it is drawn. */
export function lesionLabels(viewer, { canvas }) {
  const { ready, scene, settings, slice } = viewer;
  if (!ready || settings.maskStyle === "off" || settings.masks === "second" || scene.isPreview(settings)) return [];
  const plane = canvas.planes().find(({ axis }) => axis === 2);
  if (!plane) return [];
  const [frameLeft, frameTop, width, height] = plane.frame;
  return viewer.lesionsHere().filter(({ number }) => scene.numbered.has(number)).flatMap(({ number }) => {
    const points = diagonalVoxels(scene.numbered.get(number), slice).map(([column, row]) => pointIn(plane, column, row));
    const [left, top] = points.reduce((best, point) => (point[0] - point[1] > best[0] - best[1] ? point : best));
    const isVisible = left >= frameLeft && left <= frameLeft + width && top >= frameTop && top <= frameTop + height;
    return isVisible ? [{ number, color: scene.colorOf(number), left, top }] : [];
  });
}

/** Save what a viewer shows as a PNG. */
export async function savePicture(viewer) {
  const { data, ready, slice, stage } = viewer;
  const blob = await (ready ? toPng(viewer) : fetch(stage.fallback.src).then((response) => response.blob()));
  const href = URL.createObjectURL(blob);
  const name = `metseg-${data.job.slice(-6)}-slice-${String(slice + 1).padStart(4, "0")}.png`;
  createElement("a", { href, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(href), 60_000);
}

function toPng(viewer) {
  const { data, scene, stage } = viewer;
  const { clientWidth: width, clientHeight: height } = stage.root;
  const scale = scene.canvas.pixelRatio;
  const copy = new OffscreenCanvas(Math.round(width * scale), Math.round(height * scale));
  const context = copy.getContext("2d");
  context.scale(scale, scale);
  context.font = "600 14px sans-serif";
  context.fillStyle = "#fff";
  for (const pane of scene.shown) {
    context.save();
    context.translate(pane.root.offsetLeft, 0);
    pane.canvas.drawTo(context);
    context.drawImage(pane.outlines.element, 0, 0, pane.root.clientWidth, pane.root.clientHeight);
    for (const { number, color, left, top } of lesionLabels(viewer, pane)) {
      context.fillStyle = color;
      context.fillText(String(number), left + 2, top);
    }
    context.fillStyle = "#fff";
    context.fillText(pane.title.textContent, 10, height - 30);
    context.restore();
  }
  const { note, position } = describe(viewer);
  context.fillText(note + position, 10, 20);
  context.fillText(data.disclaimer, 10, height - 10);
  return copy.convertToBlob({ type: "image/png" });
}
