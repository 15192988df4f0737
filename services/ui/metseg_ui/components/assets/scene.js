// What the canvas shows: the grey volume of the chosen sequence, masks at the chosen threshold, and a heat map.
import { Canvas, HEAT, maskColormap } from "./canvas.js";
import { countVoxels, fetchVolume, fillMask, outlineMask } from "./volumes.js";

const PROBABILITY_ONE = 65535; // as probability maps are stored
const PREVIEW_TOLERANCE = 0.004; // less than half a step of the threshold

export class Scene {
  /** `onLoading(isLoading)`: a map that was not needed before is being fetched; the other callbacks are those of Canvas. */
  constructor(element, data, { onLoading, ...canvasCallbacks }) {
    this.data = data;
    this.onLoading = onLoading;
    this.canvas = new Canvas(element, canvasCallbacks);
    this.volumes = new Map();
    this.mapLayers = new Map();
    this.abort = new AbortController();
  }

  get isClosed() {
    return this.abort.signal.aborted;
  }

  /** Load what is shown first. */
  async open({ channel }) {
    const { compared, niivue: script } = this.data;
    const [niivue, grey, mask, comparedMask] = await Promise.all([
      import(new URL(script, document.baseURI).href).then(() => globalThis.niivue),
      this.volume(channel),
      this.volume("mask"),
      compared && this.volume("mask", compared.volumes),
    ]);
    if (this.isClosed) return;
    await this.canvas.open(niivue, grey);
    this.channel = channel;
    this.masks = [mask, comparedMask].filter(Boolean);
    this.drawnMasks = this.masks.map((each) => each.emptyMask());
    for (const [index, each] of this.drawnMasks.entries()) await this.canvas.addLayer(each, maskColormap(index));
  }

  /** A layer of the job, fetched once. */
  volume(layer, base = this.data.volumes) {
    const { href } = new URL(`${base}/${layer}`, document.baseURI);
    if (!this.volumes.has(href)) this.volumes.set(href, fetchVolume(href, this.abort.signal));
    return this.volumes.get(href);
  }

  /** Whether masks are drawn at another threshold than the stored one. */
  isPreview({ threshold }) {
    return Math.abs(threshold - this.data.threshold) > PREVIEW_TOLERANCE;
  }

  /** What the mask is made of and its threshold: the stored mask, or the probability map for a preview. */
  async maskSource(settings) {
    if (!this.isPreview(settings)) return [this.masks[0], 1];
    return [await this.volume("probability"), Math.ceil(settings.threshold * PROBABILITY_ONE)];
  }

  /** Draw with these settings; nothing if `isCurrent()` is false once the volumes are there. */
  async draw(settings, isCurrent) {
    const grey = await this.volume(settings.channel);
    const source = await this.maskSource(settings);
    if (!isCurrent()) return;
    const channelChanged = this.channel !== settings.channel;
    if (channelChanged) this.canvas.setBaseVolume(grey);
    this.channel = settings.channel;
    this.drawMasks([source, [this.masks[1], 1]], settings);
    await this.drawMap(settings);
    this.drawnSource = source;
    this.canvas.refresh(channelChanged);
  }

  drawMasks(sources, { maskStyle, masks, opacity }) {
    const isShown = [masks !== "second", masks !== "first"];
    const opacities = { outline: 1, fill: opacity, off: 0 };
    this.drawnMasks.forEach((mask, index) => {
      const write = maskStyle === "outline" ? outlineMask : fillMask;
      write(mask, ...sources[index]);
      this.canvas.setLayerValues(index, mask.values);
      this.canvas.setLayerOpacity(index, isShown[index] ? opacities[maskStyle] : 0);
    });
  }

  async drawMap({ map, opacity }) {
    if (map !== "none" && !this.mapLayers.has(map)) {
      this.onLoading(true);
      this.mapLayers.set(map, await this.canvas.addLayer(await this.volume(map), HEAT));
      this.onLoading(false);
    }
    for (const [name, layer] of this.mapLayers) this.canvas.setLayerOpacity(layer, name === map ? opacity : 0);
  }

  /** The number of pixels of a slice that are marked as lesion. */
  markedPixels(slice) {
    return this.drawnSource ? countVoxels(...this.drawnSource, slice) : this.data.areasPx[slice];
  }

  close() {
    this.abort.abort();
    this.canvas.close();
  }
}
