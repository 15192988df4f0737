// The viewer: the slices of a finished job with its lesions. The page mounts it as a Streamlit component.
import { SliceNavigator, createElement, plural } from "./controls.js";
import { createLegend, handleKey } from "./keyboard.js";
import { Scene } from "./scene.js";
import { MASK_STYLES, RANGES, createBar, createButtonGroups, createSliders } from "./toolbar.js";

const REPORT_SLICE_AFTER_MS = 500;
const FULL_WINDOW = { low: 0, high: 255 };
const ZOOM_STEP = 0.25;

const viewers = new WeakMap();

/** Create the viewer, or update the existing one with the page's data; returns the function that removes it. */
export function mount(component) {
  const { parentElement, data } = component;
  let viewer = viewers.get(parentElement);
  if (viewer?.data.job !== data.job || viewer?.data.compared?.job !== data.compared?.job) {
    viewer?.close();
    viewer = new Viewer(parentElement, component);
    viewers.set(parentElement, viewer);
  }
  viewer.receive(component);
  return () => {
    viewers.get(parentElement)?.close();
    viewers.delete(parentElement);
  };
}

class Viewer {
  constructor(parent, { data }) {
    this.data = data;
    this.slice = data.slice;
    const [channel] = data.channels.at(data.channels.length > 1 ? 1 : 0);
    this.settings = {
      channel, maskStyle: "outline", map: "none", multiplanar: false, masks: "both",
      zoom: 1, opacity: 0.5, threshold: data.threshold, ...FULL_WINDOW,
    };
    this.build(parent);
    this.open().catch((error) => this.showError(error));
  }

  // --- elements --------------------------------------------------------------------------------------------------

  build(parent) {
    const { data } = this;
    const set = (name) => (value) => this.update({ [name]: value });
    this.groups = createButtonGroups(data, (change) => this.update(change));
    this.sliders = createSliders({
      level: (value) => this.setWindow(value, this.window.width),
      window: (value) => this.setWindow(this.window.level, value),
      zoom: set("zoom"),
      opacity: set("opacity"),
      threshold: set("threshold"),
    });
    this.navigator = new SliceNavigator(data.areasPx, (slice) => this.showSlice(slice), (direction) => this.stepToLesion(direction));
    const reset = () => this.update({ threshold: data.threshold });
    this.resetThreshold = createElement("button", { type: "button", class: "framed", hidden: true, onclick: reset }, "Reset threshold");
    const rows = [
      createBar("bar", this.groups), this.buildStage(), this.navigator.root, createBar("sliders", this.sliders),
      this.resetThreshold, createLegend(data),
    ];
    this.root = createElement("div", { class: "viewer" }, ...rows);
    this.root.addEventListener("keydown", (event) => handleKey(this, event), true);
    parent.querySelector(".viewer-root").replaceChildren(this.root);
    this.render();
  }

  buildStage() {
    this.picture = createElement("canvas");
    this.scene = new Scene(this.picture, this.data, {
      onSlice: (slice) => this.onCanvasSlice(slice),
      onWindow: (low, high) => this.onCanvasWindow(low, high),
      onDraw: () => this.renderLesionNumbers(),
      onLoading: (isLoading) => (this.status.hidden = !isLoading),
    });
    this.fallback = createElement("img", { class: "fallback", alt: "" });
    this.note = createElement("span", { class: "note" });
    this.position = createElement("span");
    this.lesionNumbers = createElement("div");
    this.status = createElement("div", { class: "status", role: "status" }, "Loading the volume …");
    const caption = createElement("div", { class: "caption" }, this.note, this.position);
    const attributes = { class: "stage", tabindex: 0, role: "group", "aria-label": "Scan; keyboard shortcuts are listed below" };
    this.stage = createElement("div", attributes, this.picture, this.fallback, caption, this.lesionNumbers, this.status);
    this.stage.addEventListener("wheel", (event) => this.onWheel(event), { capture: true, passive: false });
    this.stage.addEventListener("pointerdown", () => this.stage.focus({ preventScroll: true }));
    this.stage.addEventListener("contextmenu", (event) => event.preventDefault());
    return this.stage;
  }

  async open() {
    await this.scene.open(this.settings);
    if (this.scene.isClosed) return;
    this.fallback.remove();
    this.status.hidden = true;
    this.ready = true;
    this.picture.setAttribute("role", "img");
    await this.draw();
    this.showSlice(this.slice);
    this.root.dataset.ready = "true";
  }

  showError(error) {
    if (this.scene.isClosed) return;
    const hasWebgl = globalThis.WebGL2RenderingContext && this.picture.getContext("webgl2");
    this.status.textContent = hasWebgl
      ? error.message
      : "This browser does not support WebGL2; slices are shown as images, with lesions outlined on FLAIR.";
    this.root.dataset.ready = "fallback";
    this.render();
  }

  // --- actions ---------------------------------------------------------------------------------------------------

  /** Take over what the page sends at each run. */
  receive({ data, setStateValue }) {
    this.setStateValue = setStateValue;
    if (data.jump.serial !== this.lastJump && this.lastJump !== undefined) this.showSlice(data.jump.slice);
    this.lastJump = data.jump.serial;
  }

  /** Change settings, and draw with them. */
  update(change) {
    this.settings = { ...this.settings, ...change };
    if (!this.ready) return this.render();
    if ("zoom" in change) this.scene.canvas.setZoom(this.settings.zoom);
    if ("multiplanar" in change) this.scene.canvas.setMultiplanar(this.settings.multiplanar);
    this.draw().catch((error) => this.showError(error));
  }

  /** Go to the next value of a setting that has few of them. */
  cycle(name) {
    const values = { maskStyle: MASK_STYLES.map(([value]) => value), map: this.data.maps, multiplanar: [false, true] }[name];
    this.update({ [name]: values[(values.indexOf(this.settings[name]) + 1) % values.length] });
  }

  nudge(name, by) {
    const { min, max } = RANGES[name];
    this.update({ [name]: Math.min(max, Math.max(min, this.settings[name] + by)) });
  }

  resetView() {
    const { level, width } = this.windowOf(FULL_WINDOW);
    this.setWindow(level, width);
    this.update({ zoom: 1, threshold: this.data.threshold });
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
    if (this.ready) {
      const [lesion] = this.lesionsHere();
      const centre = lesion && this.settings.multiplanar ? [lesion.centre[2], lesion.centre[1]] : this.scene.canvas.crosshairVoxel().slice(0, 2);
      this.scene.canvas.moveCrosshair([...centre, this.slice]);
    }
    this.render();
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

  /** The nearest slice with a lesion before (-1) or after (1) this one. */
  nearestLesionSlice(direction) {
    const found = this.data.lesionsBySlice.flatMap((numbers, index) =>
      numbers.length && (index - this.slice) * direction > 0 ? [index] : [],
    );
    return direction > 0 ? found[0] : found.at(-1);
  }

  stepToLesion(direction) {
    const slice = this.nearestLesionSlice(direction);
    if (slice !== undefined) this.showSlice(slice);
  }

  onWheel(event) {
    event.preventDefault();
    event.stopPropagation();
    if (event.ctrlKey) this.nudge("zoom", -Math.sign(event.deltaY) * ZOOM_STEP);
    else this.showSlice(this.slice - Math.sign(event.deltaY));
  }

  // --- drawing ---------------------------------------------------------------------------------------------------

  async draw() {
    const { settings } = this;
    await this.scene.draw(settings, () => settings === this.settings);
    if (settings === this.settings) this.render();
  }

  /** Update every control and text to the current state. */
  render() {
    const { data, settings, slice } = this;
    for (const [name, group] of Object.entries(this.groups)) group.set(settings[name]);
    const { level, width: window } = this.window;
    for (const [name, slider] of Object.entries(this.sliders)) slider.set({ ...settings, level, window }[name]);
    this.sliders.opacity.root.hidden = settings.maskStyle !== "fill" && settings.map === "none";
    this.resetThreshold.hidden = !this.scene.isPreview(settings);
    const hasLesion = (direction) => this.nearestLesionSlice(direction) !== undefined;
    this.navigator.set(slice, { hasPrevious: hasLesion(-1), hasNext: hasLesion(1) });
    this.renderTexts();
    clearTimeout(this.timer);
    this.timer = setTimeout(() => slice !== this.sentSlice && this.setStateValue?.("slice", (this.sentSlice = slice)), REPORT_SLICE_AFTER_MS);
  }

  renderTexts() {
    const { data, settings, slice } = this;
    const [, sequence] = data.channels.find(([value]) => value === settings.channel);
    const position = `Slice ${slice + 1} of ${data.sliceCount}, ${sequence}`;
    const preview = `Preview at threshold ${settings.threshold.toFixed(2)} (stored: ${data.threshold.toFixed(2)}). `;
    const note = this.scene.isPreview(settings) ? preview : "";
    const area = this.scene.markedPixels(slice);
    const numbers = data.lesionsBySlice[slice];
    const marked = numbers.length ? `${plural("lesion", numbers.length)} ${numbers.join(", ")}` : "an area";
    const description = `${note}${position}. ${area ? `Marked: ${marked} (${area} px).` : "No lesion marked."}`;
    this.note.textContent = note;
    this.position.textContent = position;
    if (this.ready) this.picture.setAttribute("aria-label", description);
    else Object.assign(this.fallback, { src: new URL(`${data.overlays}/${slice}`, document.baseURI).href, alt: description });
  }

  /** Write each lesion's number next to it, if one plane is shown. */
  renderLesionNumbers() {
    const { maskStyle, multiplanar } = this.settings;
    const lesions = this.ready && !multiplanar && maskStyle !== "off" ? this.lesionsHere() : [];
    const labels = lesions.flatMap(({ number, corner: [top, right] }) => {
      const point = this.scene.canvas.toCanvasPoint([right, top, this.slice]);
      return point ? [createElement("span", { class: "number", style: `left:${point[0]}px;top:${point[1]}px` }, String(number))] : [];
    });
    this.lesionNumbers.replaceChildren(...labels);
  }

  close() {
    clearTimeout(this.timer);
    this.scene.close();
    this.root.remove();
  }
}
