// One picture of the scan: a sequence in grey, and above it masks, heat maps, outlines and marks.
import { Canvas, HEAT, maskColormap } from "./canvas.js";
import { createElement } from "./controls.js";
import { Outlines } from "./outlines.js";
import { remembered } from "./volumes.js";

export class Pane {
  /** `onDraw(pane)`: after each frame; the other callbacks are those of Canvas. `drawMarks(context, plane)` draws above
   * the outlines. */
  constructor(colors, { onDraw, drawMarks, ...canvasCallbacks }) {
    this.colors = colors;
    this.picture = createElement("canvas");
    for (const name of ["keydown", "keyup"]) this.picture.addEventListener(name, (event) => event.stopImmediatePropagation());
    this.numbers = createElement("div");
    this.title = createElement("span", { class: "title" });
    const above = createElement("canvas", { class: "outlines", "aria-hidden": "true" });
    this.root = createElement("div", { class: "pane" }, this.picture, above, this.title, this.numbers);
    this.outlines = new Outlines(above, colors, drawMarks);
    const draw = () => {
      this.outlines.draw(this.canvas.planes());
      onDraw(this);
    };
    this.canvas = new Canvas(this.picture, { ...canvasCallbacks, onDraw: draw });
    this.opening = new Map();
    this.mapLayers = new Map();
  }

  /** Show a volume in grey with masks above it; only the first call does something. */
  open(niivue, grey, masks) {
    return remembered(this.opening, "picture", async () => {
      await this.canvas.open(niivue, grey, this.colors);
      for (const [index, mask] of masks.entries()) await this.canvas.addLayer(mask, maskColormap(index), 255);
      this.grey = grey;
      this.isOpen = true;
    });
  }

  /** Add a heat map to the canvas, once. */
  addMap(name, volume) {
    return remembered(this.opening, name, async () => {
      this.mapLayers.set(name, await this.canvas.addLayer(volume, HEAT, 1));
    });
  }

  draw(grey, masks, { maskStyle, masks: chosen, map, opacity, layout }) {
    const isShown = [chosen !== "second", chosen === "both" || chosen === "second", chosen === "own"];
    masks.forEach((mask, index) => {
      this.canvas.setLayerValues(index, mask.values);
      this.canvas.setLayerOpacity(index, maskStyle === "fill" && isShown[index] ? opacity : 0);
    });
    this.outlines.setMasks(masks.map((mask, index) => (maskStyle === "outline" && isShown[index] ? mask : null)));
    for (const [name, layer] of this.mapLayers) this.canvas.setLayerOpacity(layer, name === map ? opacity : 0);
    this.canvas.setMultiplanar(layout === "planes");
    const hasChanged = this.grey !== grey;
    if (hasChanged) this.canvas.setBaseVolume(grey);
    this.grey = grey;
    this.canvas.refresh(hasChanged);
  }

  close() {
    this.canvas.close();
  }
}
