// Two scans of a patient side by side: the later one, and the earlier one registered to it, so that slices are linked.
import { ButtonGroup, Slider, createElement } from "./controls.js";
import { connectedComponents, numberComponents } from "./lesions.js";
import { drawScaleBar } from "./marks.js";
import { findEdges, pointIn } from "./outlines.js";
import { Pane } from "./pane.js";
import { labelMap, mapPoint, resample } from "./resample.js";
import { fetchVolume, remembered, toVoxel } from "./volumes.js";

const [PRIOR, CURRENT] = [0, 1];
const FULL_WINDOW = { low: 0, high: 255 };
const ZOOM = { min: 1, max: 8, step: 0.5 };
const SLICE_AXIS = 2;
const KEYS = { ArrowUp: 1, ArrowRight: 1, PageUp: 5, ArrowDown: -1, ArrowLeft: -1, PageDown: -5 };

const viewers = new WeakMap();

/** Create the viewer of a pair of scans, or update the existing one; returns the function that removes it. */
export function mount({ parentElement, data }) {
  let viewer = viewers.get(parentElement);
  if (viewer?.data.pair !== data.pair) {
    viewer?.close();
    viewer = new PairViewer(parentElement, data);
    viewers.set(parentElement, viewer);
  }
  viewer.receive(data);
  return () => {
    viewers.get(parentElement)?.close();
    viewers.delete(parentElement);
  };
}

class PairViewer {
  constructor(parent, data) {
    this.data = data;
    this.settings = { channel: data.channels[0][0], outlines: "on", zoom: 1 };
    this.volumes = new Map();
    this.abort = new AbortController();
    this.build(parent);
    this.open().catch((error) => this.abort.signal.aborted || this.showStatus(error.message));
  }

  // --- elements --------------------------------------------------------------------------------------------------

  build(parent) {
    const { data } = this;
    const update = (name) => (value) => this.update({ [name]: value });
    this.groups = {
      channel: new ButtonGroup("Sequence", data.channels, update("channel")),
      outlines: new ButtonGroup("Outlines", [["on", "Outlines"], ["off", "Off"]], update("outlines")),
    };
    const format = (value) => `${value + 1} of ${data.sliceCount}`;
    this.slider = new Slider("Slice", { min: 0, max: data.sliceCount - 1, step: 1, format }, (slice) => this.showSlice(slice));
    this.zoom = new Slider("Zoom", { ...ZOOM, format: (value) => `${value.toFixed(1)}×` }, (value) => this.zoomTo(value));
    const callbacks = {
      onSlice: (slice) => this.onSlice(slice),
      onWindow: () => {},
      onDraw: (pane) => this.onDraw(pane),
      drawMarks: (context, plane) => drawScaleBar(context, plane, data.spacingMm),
    };
    this.panes = [PRIOR, CURRENT].map(() => new Pane(data.colors, callbacks));
    this.panes.forEach(({ picture }) => picture.setAttribute("role", "img"));
    this.status = createElement("div", { class: "status", role: "status" }, "Loading both scans …");
    const attributes = { class: "stage", tabindex: 0, role: "group", "aria-label": "Both scans; arrow keys change the slice" };
    this.stage = createElement("div", attributes, ...this.panes.map(({ root }) => root), this.status);
    this.stage.addEventListener("wheel", (event) => this.onWheel(event), { capture: true, passive: false });
    this.stage.addEventListener("pointerdown", () => this.stage.focus({ preventScroll: true }));
    this.stage.addEventListener("contextmenu", (event) => event.preventDefault());
    this.stage.addEventListener("keydown", (event) => this.onKey(event), true);
    const bar = createElement("div", { class: "bar" }, this.groups.channel.root, this.groups.outlines.root);
    const sliders = createElement("div", { class: "sliders" }, this.slider.root, this.zoom.root);
    const keys = createElement("div", { class: "keys" }, "Wheel or arrow keys: slice in both scans. Ctrl + wheel: zoom. Right drag: contrast.");
    this.root = createElement("div", { class: "viewer follow-up" }, bar, this.stage, sliders, keys);
    parent.querySelector(".viewer-root").replaceChildren(this.root);
    this.render();
  }

  // --- volumes ---------------------------------------------------------------------------------------------------

  async open() {
    const { data } = this;
    const [niivue, masks] = await Promise.all([
      import(new URL(data.niivue, document.baseURI).href).then(() => globalThis.niivue),
      Promise.all(data.studies.map((study) => this.fetched(study, "mask"))),
    ]);
    this.priorGrid = masks[PRIOR];
    const labels = masks.map((mask, index) => this.labelled(mask, data.studies[index]));
    this.grid = masks[CURRENT];
    this.labels = [resample(labels[PRIOR], this.grid, data.motion, true), labels[CURRENT]];
    const greys = await this.greys();
    if (this.abort.signal.aborted) return;
    const empty = this.grid.emptyMask();
    await Promise.all(this.panes.map((pane, index) => pane.open(niivue, greys[index], [this.labels[index], empty, empty])));
    this.ready = true;
    this.draw(greys);
    this.showStatus("");
    this.goTo(data.jump);
    this.root.dataset.ready = "true";
  }

  fetched({ volumes }, layer) {
    const { href } = new URL(`${volumes}/${layer}`, document.baseURI);
    return remembered(this.volumes, href, () => fetchVolume(href, this.abort.signal));
  }

  /** A map of track numbers: those are what colours and labels mean. */
  labelled(mask, { lesions, joined }) {
    const numbered = numberComponents(connectedComponents(mask, 1), lesions, joined);
    const tracks = new Map(lesions.map(({ number, track }) => [number, track]));
    return labelMap(mask, numbered, (number) => tracks.get(number));
  }

  /** Both scans of the chosen sequence on the later one's grid. */
  greys() {
    const { studies, motion } = this.data;
    const { channel } = this.settings;
    return Promise.all([
      remembered(this.volumes, `registered ${channel}`, async () => resample(await this.fetched(studies[PRIOR], channel), this.grid, motion, false)),
      this.fetched(studies[CURRENT], channel),
    ]);
  }

  // --- actions ---------------------------------------------------------------------------------------------------

  /** Take over what the page sends at each run. */
  receive(data) {
    const { jump } = this.data;
    this.data = data;
    if (data.jump.serial !== jump.serial) this.goTo(data.jump);
    this.render();
  }

  async update(change) {
    this.settings = { ...this.settings, ...change };
    this.render();
    if (!this.ready) return;
    const { settings } = this;
    const greys = await this.greys();
    if (settings === this.settings) this.draw(greys);
  }

  /** Show a place, in millimetres of the later scan, in both; without one, the middle slice. */
  goTo({ mm, slice }) {
    if (!this.ready) return;
    if (!mm) return this.showSlice(Math.floor(this.data.sliceCount / 2));
    const voxel = toVoxel(this.grid.affine, mm).map(Math.round);
    if (slice !== null) voxel[SLICE_AXIS] = slice;
    const sizes = [this.grid.columns, this.grid.rows, this.grid.slices];
    const { canvas } = this.panes[CURRENT];
    canvas.moveCrosshair(voxel.map((value, axis) => Math.min(Math.max(value, 0), sizes[axis] - 1)));
    if (canvas.zoom > 1) canvas.moveTo(canvas.positionOf(voxel));
    this.onSlice(canvas.crosshairVoxel()[SLICE_AXIS]);
  }

  showSlice(slice) {
    if (!this.ready) return;
    const { canvas } = this.panes[CURRENT];
    canvas.moveCrosshair(canvas.crosshairVoxel().with(SLICE_AXIS, Math.min(Math.max(slice, 0), this.data.sliceCount - 1)));
    this.onSlice(canvas.crosshairVoxel()[SLICE_AXIS]);
  }

  zoomTo(value, position) {
    if (!this.ready) return;
    const { canvas } = this.panes[CURRENT];
    const zoom = Math.min(ZOOM.max, Math.max(ZOOM.min, value));
    canvas.setZoom(zoom, position ?? canvas.positionOf(canvas.crosshairVoxel()));
    this.settings.zoom = zoom;
    this.render();
  }

  onWheel(event) {
    event.preventDefault();
    event.stopPropagation();
    const direction = Math.sign(event.deltaY);
    if (!event.ctrlKey) return this.showSlice(this.slice - direction);
    const position = this.ready && this.panes.map(({ canvas }) => canvas.positionAt(event)).find(Boolean);
    this.zoomTo(this.settings.zoom - direction * ZOOM.step, position || undefined);
  }

  onKey(event) {
    const step = KEYS[event.key];
    if (!step || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    event.stopPropagation();
    this.showSlice(this.slice + step);
  }

  onSlice(slice) {
    if (slice === this.slice) return;
    this.slice = slice;
    this.render();
  }

  // --- drawing ---------------------------------------------------------------------------------------------------

  draw(greys) {
    const drawn = { maskStyle: this.settings.outlines === "on" ? "outline" : "off", masks: "first", map: "none", opacity: 0, layout: "two" };
    const empty = this.labels[CURRENT].emptyMask();
    this.panes.forEach((pane, index) => pane.draw(greys[index], [this.labels[index], empty, empty], drawn));
  }

  /** After each frame of a picture: the other one follows, and the numbers are written. */
  onDraw(pane) {
    if (!this.ready) return;
    const other = this.panes.find((each) => each !== pane);
    other.canvas.follow(pane.canvas);
    const shown = this.settings.outlines === "on" ? this.numbersIn(pane) : [];
    pane.numbers.replaceChildren(
      ...shown.map(({ number, left, top }) => {
        const color = this.data.colors.lesions[number - 1].join();
        const name = number === this.data.track ? "number selected" : "number";
        return createElement("span", { class: name, style: `left:${left}px;top:${top}px;color:rgb(${color})` }, String(number));
      }),
    );
  }

  /** The tracks in the slice of a pane, and where their numbers are written. */
  numbersIn(pane) {
    const plane = pane.canvas.planes().find(({ axis }) => axis === SLICE_AXIS);
    if (!plane) return [];
    const edges = findEdges(this.labels[this.panes.indexOf(pane)], SLICE_AXIS, plane.index);
    return [...edges].map(([number, ends]) => {
      let [left, top] = [-Infinity, 0];
      for (let at = 0; at < ends.length; at += 2) {
        const [x, y] = pointIn(plane, ends[at], ends[at + 1]);
        if (x - y > left - top) [left, top] = [x, y];
      }
      return { number, left, top };
    });
  }

  render() {
    for (const [name, group] of Object.entries(this.groups)) group.set(this.settings[name]);
    this.zoom.set(this.settings.zoom);
    if (this.slice === undefined) return;
    this.slider.set(this.slice);
    const { studies } = this.data;
    const slices = [this.priorSlice(), this.slice];
    this.panes.forEach((pane, index) => {
      const { title, measured } = studies[index];
      const place = slices[index] === null ? "outside of the scan" : `${index === PRIOR ? "near slice" : "slice"} ${slices[index] + 1}`;
      pane.title.textContent = `${title}, ${place}${measured ? `: ${measured}` : ""}`;
      pane.picture.setAttribute("aria-label", pane.title.textContent);
    });
  }

  /** The slice of the earlier scan that is nearest to the crosshair; null outside of it. */
  priorSlice() {
    const { canvas } = this.panes[CURRENT];
    const mm = mapPoint(this.data.motion, mapPoint(this.grid.affine, canvas.crosshairVoxel()));
    const slice = Math.round(toVoxel(this.priorGrid.affine, mm)[SLICE_AXIS]);
    return slice >= 0 && slice < this.priorGrid.slices ? slice : null;
  }

  showStatus(text) {
    this.status.textContent = text;
    this.status.hidden = !text;
  }

  close() {
    this.abort.abort();
    this.panes.forEach((pane) => pane.close());
    this.root.remove();
  }
}
