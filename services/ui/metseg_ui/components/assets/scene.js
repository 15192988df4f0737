// What is shown of a scan: one or two sequences side by side, with masks at the chosen threshold and a heat map.
import { connectedComponents, countVoxels, fillMask, numberComponents } from "./lesions.js";
import { drawDiameters, drawScaleBar } from "./marks.js";
import { Pane } from "./pane.js";
import { fetchVolume, remembered } from "./volumes.js";

const PROBABILITY_ONE = 65535; // as probability maps are stored
const PREVIEW_TOLERANCE = 0.004; // less than half a step of the threshold

export class Scene {
  /** `onLoading(isLoading)`: volumes that were not needed before are being fetched; `onDraw(pane)`: after each frame;
   * `onSlice` and `onWindow` are those of Canvas. */
  constructor(data, { onLoading, onDraw, ...canvasCallbacks }) {
    this.data = data;
    this.onLoading = onLoading;
    const draw = (pane) => {
      this.shown.filter((other) => other !== pane).forEach((other) => other.canvas.follow(pane.canvas));
      onDraw(pane);
    };
    const drawMarks = (context, plane) => this.drawMarks(context, plane);
    this.panes = [0, 1].map(() => new Pane(data.colors, { ...canvasCallbacks, onDraw: draw, drawMarks }));
    this.panes[1].root.hidden = true;
    this.volumes = new Map();
    this.loading = 0;
    this.components = [];
    this.numbered = new Map();
    this.abort = new AbortController();
  }

  get isClosed() {
    return this.abort.signal.aborted;
  }

  /** The canvas of the chosen sequence. */
  get canvas() {
    return this.panes[0].canvas;
  }

  /** The panes that show something. */
  get shown() {
    return this.panes.filter(({ root, isOpen }) => isOpen && !root.hidden);
  }

  /** Load what is shown first, and meanwhile fetch what is shown next to it. */
  async open(settings) {
    const [channel, neighbour] = this.channelsOf(settings);
    const { second, own, lesions, niivue: script, review } = this.data;
    const [niivue, grey, mask, secondMask, ownMask] = await Promise.all([
      import(new URL(script, document.baseURI).href).then(() => globalThis.niivue),
      this.volume(channel),
      this.volume("mask"),
      second && this.volume(second.layer, second.volumes),
      own && this.volume(own),
    ]);
    if (this.isClosed) return;
    if (neighbour) this.volume(neighbour);
    this.niivue = niivue;
    this.stored = [mask, secondMask, ownMask].map((each) => (each ? connectedComponents(each, 1) : []));
    this.numbered = numberComponents(this.stored[0], lesions, review.body?.joined ?? []);
    this.masks = this.stored.map(() => mask.emptyMask());
    await this.panes[0].open(niivue, grey, this.masks);
  }

  /** A layer of the job, fetched once; again if that failed. */
  volume(layer, base = this.data.volumes) {
    const { href } = new URL(`${base}/${layer}`, document.baseURI);
    return remembered(this.volumes, href, () => fetchVolume(href, this.abort.signal));
  }

  /** The sequences that are shown, from left to right: FLAIR next to another one, post-contrast T1 next to FLAIR. */
  channelsOf({ channel, layout }) {
    return layout === "two" ? [channel, channel === "flair" ? "post" : "flair"] : [channel];
  }

  /** Whether masks are drawn at another threshold than the stored one. */
  isPreview({ threshold }) {
    return Math.abs(threshold - this.data.threshold) > PREVIEW_TOLERANCE;
  }

  /** Draw with these settings; nothing if `isCurrent()` is false once the volumes are there. */
  async draw(settings, isCurrent) {
    const channels = this.channelsOf(settings);
    const [probability, map, ...greys] = await this.whileLoading([
      this.isPreview(settings) ? this.volume("probability") : null,
      settings.map === "none" ? null : this.volume(settings.map),
      ...channels.map((channel) => this.volume(channel)),
    ]);
    if (!isCurrent()) return;
    const panes = this.panes.slice(0, channels.length);
    this.panes[1].root.hidden = panes.length === 1;
    await Promise.all(panes.map((pane, index) => pane.open(this.niivue, greys[index], this.masks)));
    if (map) await Promise.all(panes.map((pane) => pane.addMap(settings.map, map)));
    if (!isCurrent()) return;
    this.settings = settings;
    this.components = probability ? this.preview(probability, settings) : this.stored[0];
    this.fillMasks();
    panes.forEach((pane, index) => {
      pane.title.textContent = panes.length > 1 ? this.nameOf(channels[index]) : "";
      pane.draw(greys[index], this.masks, settings);
    });
    panes[1]?.canvas.follow(this.canvas);
  }

  nameOf(channel) {
    return this.data.channels.find(([value]) => value === channel)[1];
  }

  /** The lesions at another threshold, without those that are too small to be in a result. */
  preview(probability, { threshold }) {
    return connectedComponents(probability, Math.ceil(threshold * PROBABILITY_ONE), this.data.minVoxels);
  }

  async whileLoading(promises) {
    this.onLoading(++this.loading > 0);
    try {
      return await Promise.all(promises);
    } finally {
      this.onLoading(--this.loading > 0);
    }
  }

  /** Mark each lesion with the number of its colour, and the other masks with 1. */
  fillMasks() {
    const { second } = this.data;
    const values = new Map();
    for (const [number, { parts }] of second?.isOtherModel ? [] : this.numbered) {
      for (const part of parts) values.set(part, this.colorIndex(number) + 1);
    }
    fillMask(this.masks[0], this.components, (component) => values.get(component) ?? 1);
    for (const index of [1, 2]) fillMask(this.masks[index], this.stored[index], () => 1);
  }

  colorIndex(number) {
    return (number - 1) % this.data.colors.lesions.length;
  }

  /** The CSS colour of a lesion. */
  colorOf(number) {
    return `rgb(${this.data.colors.lesions[this.data.second?.isOtherModel ? 0 : this.colorIndex(number)].join()})`;
  }

  /** Draw the measured diameters and a scale bar above the outlines of a plane. */
  drawMarks(context, plane) {
    const { settings, data } = this;
    if (!settings) return;
    const areLesionsShown = settings.maskStyle !== "off" && settings.masks !== "second" && !this.isPreview(settings);
    if (areLesionsShown) drawDiameters(context, plane, data.lesions);
    if (data.spacingMm) drawScaleBar(context, plane, data.spacingMm);
  }

  /** The number of pixels of a slice that are marked as lesion. */
  markedPixels(slice) {
    return this.masks ? countVoxels(this.components, slice) : this.data.areasPx[slice];
  }

  close() {
    this.abort.abort();
    this.panes.forEach((pane) => pane.close());
  }
}
