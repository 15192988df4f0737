// What the canvas shows: the grey volume of the chosen sequence, masks at the chosen threshold, and a heat map.
import { Canvas, HEAT, maskColormap } from "./canvas.js";
import { connectedComponents, countVoxels, fillMask, numberComponents } from "./lesions.js";
import { Outlines } from "./outlines.js";
import { fetchVolume } from "./volumes.js";

const PROBABILITY_ONE = 65535; // as probability maps are stored
const PREVIEW_TOLERANCE = 0.004; // less than half a step of the threshold

export class Scene {
  /** `onLoading(isLoading)`: volumes that were not needed before are being fetched; the other callbacks are those of
   * Canvas. */
  constructor({ picture, outlines }, data, { onLoading, onDraw, ...canvasCallbacks }) {
    this.data = data;
    this.onLoading = onLoading;
    this.outlines = new Outlines(outlines);
    const draw = () => {
      this.outlines.draw(this.canvas.planes());
      onDraw();
    };
    this.canvas = new Canvas(picture, { ...canvasCallbacks, onDraw: draw });
    this.volumes = new Map();
    this.addedMaps = new Map();
    this.mapLayers = new Map();
    this.loading = 0;
    this.components = [];
    this.numbered = new Map();
    this.abort = new AbortController();
  }

  get isClosed() {
    return this.abort.signal.aborted;
  }

  /** Load what is shown first. */
  async open({ channel }) {
    const { second, lesions, niivue: script } = this.data;
    const [niivue, grey, mask, secondMask] = await Promise.all([
      import(new URL(script, document.baseURI).href).then(() => globalThis.niivue),
      this.volume(channel),
      this.volume("mask"),
      second && this.volume(second.layer, second.volumes),
    ]);
    if (this.isClosed) return;
    await this.canvas.open(niivue, grey);
    this.channel = channel;
    this.stored = [mask, secondMask].filter(Boolean).map((each) => connectedComponents(each, 1));
    this.numbered = numberComponents(this.stored[0], lesions);
    this.masks = this.stored.map(() => mask.emptyMask());
    for (const [index, each] of this.masks.entries()) await this.canvas.addLayer(each, maskColormap(index));
  }

  /** A layer of the job, fetched once; again if that failed. */
  volume(layer, base = this.data.volumes) {
    const { href } = new URL(`${base}/${layer}`, document.baseURI);
    return remembered(this.volumes, href, () => fetchVolume(href, this.abort.signal));
  }

  /** Add a heat map to the canvas, once. */
  addMap(map) {
    return remembered(this.addedMaps, map, async () => {
      this.mapLayers.set(map, await this.canvas.addLayer(await this.volume(map), HEAT));
    });
  }

  /** Whether masks are drawn at another threshold than the stored one. */
  isPreview({ threshold }) {
    return Math.abs(threshold - this.data.threshold) > PREVIEW_TOLERANCE;
  }

  /** Draw with these settings; nothing if `isCurrent()` is false once the volumes are there. */
  async draw(settings, isCurrent) {
    const [grey, probability] = await this.whileLoading([
      this.volume(settings.channel),
      this.isPreview(settings) ? this.volume("probability") : null,
      settings.map === "none" ? null : this.addMap(settings.map),
    ]);
    if (!isCurrent()) return;
    const channelChanged = this.channel !== settings.channel;
    if (channelChanged) this.canvas.setBaseVolume(grey);
    this.channel = settings.channel;
    this.components = probability ? this.preview(probability, settings) : this.stored[0];
    this.drawMasks([this.components, this.stored[1]], settings);
    this.drawMap(settings);
    this.canvas.refresh(channelChanged);
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

  drawMasks(components, { maskStyle, masks, opacity }) {
    const isShown = [masks !== "second", masks !== "first"];
    this.masks.forEach((mask, index) => {
      fillMask(mask, components[index]);
      this.canvas.setLayerValues(index, mask.values);
      this.canvas.setLayerOpacity(index, maskStyle === "fill" && isShown[index] ? opacity : 0);
    });
    this.outlines.setMasks(this.masks.map((mask, index) => (maskStyle === "outline" && isShown[index] ? mask : null)));
  }

  drawMap({ map, opacity }) {
    for (const [name, layer] of this.mapLayers) this.canvas.setLayerOpacity(layer, name === map ? opacity : 0);
  }

  /** The number of pixels of a slice that are marked as lesion. */
  markedPixels(slice) {
    return this.masks ? countVoxels(this.components, slice) : this.data.areasPx[slice];
  }

  close() {
    this.abort.abort();
    this.canvas.close();
  }
}

/** The promise that `start` once gave for a key; forgotten if it is rejected, so that the next call starts again. */
function remembered(promises, key, start) {
  if (!promises.has(key)) {
    const promise = start();
    promises.set(key, promise);
    promise.catch(() => promises.delete(key));
  }
  return promises.get(key);
}
