// The viewer: the slices of a finished job with its lesions.
import { describe, savePicture } from "./annotations.js";
import { SliceNavigator, createElement } from "./controls.js";
import { createLegend, handleKey, handlePageKey } from "./keyboard.js";
import { middleVoxel } from "./lesions.js";
import { Reviewing } from "./reviewing.js";
import { Scene } from "./scene.js";
import { Stage } from "./stage.js";
import { MASK_STYLES, RANGES, createActions, createBar, createButtonGroups, createSliders } from "./toolbar.js";

const REPORT_SLICE_AFTER_MS = 500;
const FULL_WINDOW = { low: 0, high: 255 };
const WIDE_PX = 720; // from here on two pictures fit side by side

export class Viewer {
  /** `before` is the viewer that showed the same job until now, if there is one, and `unsaved` what it had not stored. */
  constructor(parent, { data }, before, unsaved) {
    this.data = data;
    this.unsaved = unsaved;
    this.slice = data.slice;
    this.lesion = data.lesions.find(({ slice }) => slice === data.slice)?.number;
    this.settings = {
      channel: data.channel, maskStyle: "outline", map: "none", layout: "one", masks: data.second ? "both" : "first",
      zoom: 1, opacity: 0.5, threshold: data.threshold, hasRuler: false, ...FULL_WINDOW,
    };
    if (before) {
      const { channel, maskStyle, layout, low, high } = before.settings;
      Object.assign(this.settings, { channel, maskStyle, layout, low, high });
      this.slice = before.slice;
      this.settings.threshold = unsaved?.threshold ?? data.threshold;
      this.isReviewing = before.reviewing.isOpen;
    }
    this.drawn = this.settings;
    this.build(parent, before);
    this.onPageKey = (event) => handlePageKey(this, event);
    document.addEventListener("keydown", this.onPageKey);
    this.open().catch((error) => this.showError(error));
  }

  // --- elements --------------------------------------------------------------------------------------------------

  build(parent, before) {
    const { data } = this;
    const set = (name) => (value) => this.update({ [name]: value });
    this.groups = createButtonGroups(data, (change) => this.update(change));
    this.sliders = createSliders({
      level: (value) => this.setWindow(value, this.window.width),
      window: (value) => this.setWindow(this.window.level, value),
      zoom: (value) => this.zoomTo(value),
      opacity: set("opacity"),
      threshold: set("threshold"),
    });
    this.navigator = new SliceNavigator(data, (slice) => this.showSlice(slice), (direction) => this.stepToLesionSlice(direction));
    const reset = () => this.update({ threshold: data.threshold });
    this.resetThreshold = createElement("button", { type: "button", class: "framed", hidden: true, onclick: reset }, "Reset threshold");
    this.actions = createActions(data, {
      ruler: () => this.setRuler(!this.settings.hasRuler),
      review: () => this.reviewing.toggle(),
      fullScreen: () => this.toggleFullScreen(),
      save: () => savePicture(this),
    });
    this.scene = new Scene(data, {
      onSlice: (slice) => this.onCanvasSlice(slice),
      onWindow: (low, high) => this.onCanvasWindow(low, high),
      onDraw: (pane) => this.onDraw(pane),
      onLoading: (isLoading) => this.ready && this.stage.showStatus(isLoading ? "Loading the volume …" : ""),
    });
    this.stage = new Stage(this);
    this.picture = this.scene.panes[0].picture;
    this.reviewing = new Reviewing(this);
    const rows = [
      createBar("bar", { ...this.groups, ...this.actions }), this.reviewing.panel.tools, this.stage.root, this.navigator.root,
      this.reviewing.panel.root, createBar("sliders", this.sliders), this.resetThreshold, createLegend(data),
    ];
    this.root = createElement("div", { class: "viewer" }, ...rows);
    this.root.addEventListener("keydown", (event) => handleKey(this, event), true);
    parent.querySelector(".viewer-root").replaceChildren(this.root);
    if (!before && data.channel === "post" && this.stage.root.clientWidth >= WIDE_PX) this.settings.layout = "two";
    this.render();
  }

  async open() {
    await this.scene.open(this.settings);
    if (this.scene.isClosed) return;
    this.stage.fallback.remove();
    this.stage.showStatus("");
    this.ready = true;
    this.picture.setAttribute("role", "img");
    await this.draw();
    if (this.lesion === undefined) this.showSlice(this.slice);
    else this.showLesion(this.lesion);
    if (this.isReviewing) this.reviewing.toggle();
    if (this.unsaved) this.reviewing.restore(this.unsaved);
    Object.assign(this.root.dataset, { ready: "true", review: this.data.review.number });
  }

  showError(error) {
    if (this.scene.isClosed) return;
    const hasWebgl = globalThis.WebGL2RenderingContext && this.picture.getContext("webgl2");
    const advice = "This browser does not support WebGL2; slices are shown as images with outlines.";
    this.stage.showStatus(hasWebgl ? error.message : advice);
    this.root.dataset.ready = "fallback";
    this.render();
  }

  // --- actions ---------------------------------------------------------------------------------------------------

  /** Take over what the page sends at each run; `reload` replaces this viewer by one of it. */
  receive({ data: { jump }, setStateValue, setTriggerValue }, reload) {
    Object.assign(this, { setStateValue, setTriggerValue, reload });
    const isNew = jump.serial !== this.lastJump && this.lastJump !== undefined;
    if (isNew && this.data.lesions.some(({ number }) => number === jump.lesion)) this.showLesion(jump.lesion);
    this.lastJump = jump.serial;
  }

  /** Change settings, and draw with them. What cannot be loaded is taken back. */
  update(change) {
    const settings = { ...this.settings, ...change };
    this.settings = settings;
    if (!this.ready) return this.render();
    const done = "layout" in change ? this.draw().then(() => this.centreOnLesion()) : this.draw();
    done.catch((error) => {
      if (settings !== this.settings || this.scene.isClosed) return;
      const { channel, layout, map, threshold } = this.drawn;
      this.settings = { ...settings, channel, layout, map, threshold };
      this.stage.showStatus(`${error.message} Choose it again to retry.`);
      this.render();
    });
  }

  /** Move three planes to the selected lesion, or else to one in this slice. */
  centreOnLesion() {
    if (this.settings.layout !== "planes") return;
    const lesion = this.isHere(this.lesion) ? this.lesion : this.lesionsHere()[0]?.number;
    if (lesion !== undefined) this.centreOn(lesion);
  }

  /** Zoom about a position; without one, about the selected lesion, the crosshair or the middle of the view. */
  zoomTo(value, position = this.focus()) {
    const { min, max } = RANGES.zoom;
    const zoom = Math.min(max, Math.max(min, value));
    this.settings = { ...this.settings, zoom };
    if (this.ready) this.scene.canvas.setZoom(zoom, position);
    this.render();
  }

  focus() {
    const { canvas } = this.scene;
    if (!this.ready) return null;
    if (this.isHere(this.lesion)) return canvas.positionOf(this.middleOf(this.lesion));
    return this.settings.layout === "planes" ? canvas.positionOf(canvas.crosshairVoxel()) : canvas.middle;
  }

  /** Show a layout, or a single picture if it is shown already. */
  toggleLayout(layout) {
    if (this.groups.layout.has(layout)) this.update({ layout: this.settings.layout === layout ? "one" : layout });
  }

  /** Let a drag measure a length; switched off, all measured lengths are removed. */
  setRuler(hasRuler) {
    if (!this.ready || !this.data.spacingMm || hasRuler === this.settings.hasRuler) return;
    if (hasRuler) this.reviewing.setPen({ tool: "none" });
    this.settings = { ...this.settings, hasRuler };
    for (const { canvas, isOpen } of this.scene.panes) {
      if (!isOpen) continue;
      canvas.setTool(hasRuler ? "ruler" : null);
      if (!hasRuler) canvas.clearRuler();
    }
    this.render();
  }

  /** Whether a drag on the picture does something else than move it. */
  get hasTool() {
    return this.settings.hasRuler || this.reviewing.hasTool;
  }

  toggleFullScreen() {
    if (document.fullscreenElement) document.exitFullscreen();
    else this.root.requestFullscreen?.();
  }

  /** Go to the next value of a setting that has few of them. */
  cycle(name) {
    const values = { maskStyle: MASK_STYLES.map(([value]) => value), map: this.data.maps }[name];
    this.update({ [name]: values[(values.indexOf(this.settings[name]) + 1) % values.length] });
  }

  nudge(name, by) {
    const { min, max } = RANGES[name];
    this.update({ [name]: Math.min(max, Math.max(min, this.settings[name] + by)) });
  }

  resetView() {
    const { level, width } = this.windowOf(FULL_WINDOW);
    this.setWindow(level, width);
    this.zoomTo(RANGES.zoom.min);
    this.update({ threshold: this.data.threshold });
  }

  windowOf({ low, high }) {
    return { level: (low + high) / 2, width: high - low };
  }

  get window() {
    return this.windowOf(this.settings);
  }

  setWindow(level, width) {
    const [low, high] = [level - width / 2, level + width / 2];
    if (this.ready) this.scene.canvas.setWindow(low, high);
    this.onCanvasWindow(low, high);
  }

  onCanvasWindow(low, high) {
    Object.assign(this.settings, { low, high });
    this.render();
  }

  showSlice(slice) {
    this.slice = Math.min(Math.max(slice, 0), this.data.sliceCount - 1);
    if (this.ready) this.scene.canvas.moveCrosshair(this.scene.canvas.crosshairVoxel().with(2, this.slice));
    this.render();
  }

  /** Select a lesion, and show it in the slice in which it is largest. */
  showLesion(number) {
    this.lesion = number;
    this.slice = this.data.lesions.find((each) => each.number === number).slice;
    if (this.ready) this.centreOn(number);
    this.render();
  }

  /** Move the crosshair to a lesion, and a view that is zoomed in. */
  centreOn(number) {
    const { canvas } = this.scene;
    const voxel = this.middleOf(number);
    canvas.moveCrosshair(voxel);
    if (canvas.zoom > 1) canvas.moveTo(canvas.positionOf(voxel));
  }

  /** A voxel (column, row, slice) in the middle of a lesion's part in this slice. */
  middleOf(number) {
    return middleVoxel(this.scene.numbered.get(number), this.slice);
  }

  onCanvasSlice(slice) {
    if (slice === this.slice || slice < 0 || slice >= this.data.sliceCount) return;
    this.slice = slice;
    this.render();
  }

  lesionsHere() {
    const numbers = this.data.lesionsBySlice[this.slice];
    return this.data.lesions.filter((lesion) => numbers.includes(lesion.number));
  }

  /** Whether a lesion is in this slice. */
  isHere(number) {
    return this.lesionsHere().some((lesion) => lesion.number === number) && this.scene.numbered.has(number);
  }

  /** The nearest slice with a lesion before (-1) or after (1) this one. */
  nearestLesionSlice(direction) {
    const found = this.data.lesionsBySlice.flatMap((numbers, index) =>
      numbers.length && (index - this.slice) * direction > 0 ? [index] : [],
    );
    return direction > 0 ? found[0] : found.at(-1);
  }

  stepToLesionSlice(direction) {
    const slice = this.nearestLesionSlice(direction);
    if (slice !== undefined) this.showSlice(slice);
  }

  /** Show the next (1) or the previous (-1) lesion by number; after the last comes the first. */
  stepToLesion(direction) {
    const { lesions } = this.data;
    if (!lesions.length) return;
    const index = lesions.findIndex(({ number }) => number === this.lesion);
    const next = index < 0 ? 0 : (index + direction + lesions.length) % lesions.length;
    this.showLesion(lesions[next].number);
  }

  // --- drawing ---------------------------------------------------------------------------------------------------

  async draw() {
    const { settings } = this;
    const isCurrent = () => settings === this.settings;
    await this.scene.draw(settings, isCurrent);
    if (!isCurrent()) return;
    this.drawn = settings;
    this.render();
  }

  /** Update every control and text to the current state. */
  render() {
    const { data, settings, slice } = this;
    for (const [name, group] of Object.entries(this.groups)) group.set(settings[name]);
    const { level, width: window } = this.window;
    for (const [name, slider] of Object.entries(this.sliders)) slider.set({ ...settings, level, window }[name]);
    this.actions.ruler.root.setAttribute("aria-pressed", String(settings.hasRuler));
    this.actions.review.root.setAttribute("aria-pressed", String(this.reviewing.isOpen));
    this.reviewing.render();
    this.stage.root.classList.toggle("zoomed", settings.zoom > 1 || this.hasTool);
    this.sliders.opacity.root.hidden = settings.maskStyle !== "fill" && settings.map === "none";
    this.resetThreshold.hidden = !this.scene.isPreview(settings);
    const hasLesion = (direction) => this.nearestLesionSlice(direction) !== undefined;
    this.navigator.set(slice, { hasPrevious: hasLesion(-1), hasNext: hasLesion(1) });
    this.renderTexts();
    clearTimeout(this.timer);
    this.timer = setTimeout(() => slice !== this.sentSlice && this.setStateValue?.("slice", (this.sentSlice = slice)), REPORT_SLICE_AFTER_MS);
  }

  /** After each frame of a picture. */
  onDraw(pane) {
    this.stage.renderLesionNumbers(pane);
    this.renderTexts();
  }

  renderTexts() {
    const { note, position, description } = describe(this);
    this.stage.note.textContent = note;
    this.stage.position.textContent = position;
    if (this.ready) this.picture.setAttribute("aria-label", description);
    else Object.assign(this.stage.fallback, { src: new URL(`${this.data.overlays}/${this.slice}`, document.baseURI).href, alt: description });
  }

  close() {
    clearTimeout(this.timer);
    document.removeEventListener("keydown", this.onPageKey);
    this.scene.close();
    this.root.remove();
  }
}
