// The viewer: slices of a finished job with what the model marked in them. Mounted by the page as a component.
import { Canvas } from "./canvas.js";
import { Choice, Dial, SliceBar, element, legend } from "./controls.js";
import { counted, fetched, mark } from "./volumes.js";

const FULL = 65535; // a probability of 1, as probability maps are stored
const TOLD_AFTER_MS = 500;
const MARKINGS = [["outline", "Outline"], ["fill", "Fill"], ["off", "Off"]];
const MAPS = { none: "No map", probability: "Probability", uncertainty: "Uncertainty" };
const KEYS = [
  ["↑ ↓", "slice"], ["N P", "next, previous lesion"], ["1 2 3", "sequence"], ["O", "outline, fill, off"],
  ["M", "map"], ["V", "three planes"], ["+ −", "zoom"], ["[ ]", "opacity"], ["0", "reset"],
];

const viewers = new WeakMap();

/** Make the viewer, or give the one that is there what the page has to tell; the way to take it down comes back. */
export function mount(component) {
  const { parentElement, data } = component;
  let viewer = viewers.get(parentElement);
  if (viewer?.data.job !== data.job || viewer?.data.other?.job !== data.other?.job) {
    viewer?.close();
    viewer = new Viewer(parentElement, component);
    viewers.set(parentElement, viewer);
  }
  viewer.follow(component);
  return () => {
    viewers.get(parentElement)?.close();
    viewers.delete(parentElement);
  };
}

class Viewer {
  constructor(parent, { data }) {
    this.data = data;
    this.slice = data.slice;
    this.chosen = { channel: data.channels[data.channels.length > 1 ? 1 : 0][0], marking: "outline", map: "none" };
    Object.assign(this.chosen, { planes: false, low: 0, high: 255, zoom: 1, opacity: 0.5, threshold: data.threshold, marks: "both" });
    this.volumes = new Map();
    this.stop = new AbortController();
    this.build(parent);
    this.load().catch((error) => this.failed(error));
  }

  // --- what is there ---------------------------------------------------------------------------------------------

  build(parent) {
    const { data } = this;
    const bare = document.createElement("canvas");
    this.canvas = new Canvas(bare, {
      moved: (slice) => this.turned(slice),
      windowed: (low, high) => this.windowed(low, high),
      drawn: () => this.number(),
    });
    this.picture = bare;
    this.first = element("img", { class: "first", alt: "" });
    this.note = element("span", { class: "note" });
    this.caption = element("span");
    this.wait = element("div", { class: "wait", role: "status" }, "Fetching the volume …");
    this.numbers = element("div");
    this.stage = element("div", { class: "stage", tabindex: 0, role: "group", "aria-label": "The scan; keys are listed below" });
    this.stage.append(bare, this.first, element("div", { class: "told" }, this.note, this.caption), this.numbers, this.wait);
    const set = (name) => (value) => this.choose({ [name]: value });
    this.choices = {
      channel: new Choice("Sequence", data.channels, set("channel")),
      marking: new Choice("Lesions are drawn as", MARKINGS, set("marking")),
      map: new Choice("Map over the picture", data.maps.map((name) => [name, MAPS[name]]), set("map")),
      planes: new Choice("Planes", [[false, "Slices"], [true, "Three planes"]], set("planes")),
    };
    if (data.other) this.choices.marks = new Choice("Masks", [["both", "Both"], ["a", "This"], ["b", "Other"]], set("marks"));
    this.choices.planes.root.hidden = data.slices === 1;
    this.choices.channel.root.hidden = data.channels.length === 1;
    const share = (value) => `${Math.round(100 * value)}%`;
    this.dials = {
      level: new Dial("Level", { min: 0, max: 255, step: 1, value: 127.5, words: (v) => String(Math.round(v)) }, (v) => this.windowed(v - (this.chosen.high - this.chosen.low) / 2, v + (this.chosen.high - this.chosen.low) / 2, true)),
      width: new Dial("Window", { min: 2, max: 510, step: 1, value: 255, words: (v) => String(Math.round(v)) }, (v) => this.windowed((this.chosen.low + this.chosen.high - v) / 2, (this.chosen.low + this.chosen.high + v) / 2, true)),
      zoom: new Dial("Zoom", { min: 1, max: 8, step: 0.1, value: 1, words: (v) => `${Number(v).toFixed(1)}×` }, set("zoom")),
      opacity: new Dial("Opacity", { min: 0.1, max: 1, step: 0.05, value: 0.5, words: share }, set("opacity")),
      threshold: new Dial("Threshold", { min: 0.01, max: 0.99, step: 0.01, value: data.threshold, words: (v) => Number(v).toFixed(2) }, set("threshold")),
    };
    this.reset = element("button", { type: "button", class: "lone", hidden: true, onclick: () => this.choose({ threshold: data.threshold }) }, "Reset the threshold");
    this.bar = new SliceBar(data.areas, (slice) => this.show(slice), (way) => this.step(way));
    const rows = [
      element("div", { class: "bar" }, ...Object.values(this.choices).map((choice) => choice.root)),
      this.stage,
      this.bar.root,
      element("div", { class: "dials" }, ...Object.values(this.dials).map((dial) => dial.root)),
      this.reset,
      legend(KEYS.filter(([, words]) => data.slices > 1 || !["slice", "next, previous lesion", "three planes"].includes(words))),
    ];
    this.root = element("div", { class: "viewer" }, ...rows);
    this.root.addEventListener("keydown", (event) => this.pressed(event), true);
    this.stage.addEventListener("wheel", (event) => this.wheeled(event), { capture: true, passive: false });
    this.stage.addEventListener("pointerdown", () => this.stage.focus({ preventScroll: true }));
    this.stage.addEventListener("contextmenu", (event) => event.preventDefault());
    parent.querySelector(".place").replaceChildren(this.root);
    this.tell();
  }

  address(path) {
    return new URL(path, document.baseURI).href;
  }

  volume(layer, base = this.data.volumes) {
    const address = this.address(`${base}/${layer}`);
    if (!this.volumes.has(address)) this.volumes.set(address, fetched(address, this.stop.signal));
    return this.volumes.get(address);
  }

  async load() {
    const { data } = this;
    const { channel } = this.chosen;
    const library = import(this.address(data.niivue)).then(() => globalThis.niivue);
    const [niivue, grey, mask, other] = await Promise.all([
      library, this.volume(channel), this.volume("mask"), data.other && this.volume("mask", data.other.volumes),
    ]);
    if (this.stop.signal.aborted) return;
    await this.canvas.open(niivue, grey);
    this.drawn = channel;
    this.masks = [mask, other].filter(Boolean);
    this.marks = this.masks.map((each) => each.blank());
    for (const [index, each] of this.marks.entries()) await this.canvas.lay(each, `metseg-${"ab"[index]}`, 0, 1);
    this.first.remove();
    this.wait.hidden = true;
    this.ready = true;
    this.picture.setAttribute("role", "img");
    await this.draw();
    this.show(this.slice);
    this.root.dataset.ready = "true";
  }

  failed(error) {
    if (this.stop.signal.aborted) return;
    this.wait.textContent = globalThis.WebGL2RenderingContext && this.picture.getContext("webgl2")
      ? error.message
      : "This browser has no WebGL2, so slices are shown as pictures, with outlines in FLAIR.";
    this.root.dataset.ready = "pictures";
    this.tell();
  }

  // --- what the reader does --------------------------------------------------------------------------------------

  follow({ data, setStateValue }) {
    this.setStateValue = setStateValue;
    if (data.jump.serial !== this.jumped && this.jumped !== undefined) this.show(data.jump.slice);
    this.jumped = data.jump.serial;
  }

  choose(change) {
    const before = this.chosen;
    this.chosen = { ...before, ...change };
    if (!this.ready) return this.tell();
    if ("zoom" in change) this.canvas.zoom(this.chosen.zoom);
    if ("planes" in change) this.canvas.planes(this.chosen.planes);
    this.draw().catch((error) => this.failed(error));
  }

  windowed(low, high, ours = false) {
    Object.assign(this.chosen, { low, high });
    if (ours && this.ready) this.canvas.window(low, high);
    this.tell();
  }

  show(slice) {
    this.slice = Math.min(Math.max(slice, 0), this.data.slices - 1);
    if (this.ready) {
      const [column, row] = this.canvas.at();
      const lesion = this.here()[0];
      const middle = lesion && this.chosen.planes ? [lesion.centre[2], lesion.centre[1]] : [column, row];
      this.canvas.go([...middle, this.slice]);
    }
    this.tell();
  }

  turned(slice) {
    if (slice === this.slice || slice < 0 || slice >= this.data.slices) return;
    this.slice = slice;
    this.tell();
  }

  here() {
    const numbers = this.data.touching[this.slice];
    return this.data.lesions.filter((lesion) => numbers.includes(lesion.number));
  }

  neighbour(way) {
    const found = this.data.touching.flatMap((numbers, index) => (numbers.length && (index - this.slice) * way > 0 ? [index] : []));
    return way > 0 ? found[0] : found.at(-1);
  }

  step(way) {
    const slice = this.neighbour(way);
    if (slice !== undefined) this.show(slice);
  }

  pressed(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const ranged = event.target.tagName === "INPUT";
    const next = (name, values) => this.choose({ [name]: values[(values.indexOf(this.chosen[name]) + 1) % values.length] });
    const nudge = (name, by, least, most) => this.choose({ [name]: Math.min(most, Math.max(least, this.chosen[name] + by)) });
    const acts = {
      n: () => this.step(1), p: () => this.step(-1),
      o: () => next("marking", MARKINGS.map(([value]) => value)), m: () => next("map", this.data.maps),
      v: () => this.data.slices > 1 && next("planes", [false, true]),
      "+": () => nudge("zoom", 0.25, 1, 8), "=": () => nudge("zoom", 0.25, 1, 8), "-": () => nudge("zoom", -0.25, 1, 8),
      "[": () => nudge("opacity", -0.1, 0.1, 1), "]": () => nudge("opacity", 0.1, 0.1, 1),
      0: () => { this.windowed(0, 255, true); this.choose({ zoom: 1, threshold: this.data.threshold }); },
    };
    this.data.channels.forEach(([value], index) => (acts[index + 1] = () => this.choose({ channel: value })));
    if (!ranged) Object.assign(acts, {
      arrowup: () => this.show(this.slice + 1), arrowdown: () => this.show(this.slice - 1),
      arrowright: () => this.show(this.slice + 1), arrowleft: () => this.show(this.slice - 1),
      pageup: () => this.show(this.slice + 10), pagedown: () => this.show(this.slice - 10),
      home: () => this.show(0), end: () => this.show(this.data.slices - 1),
    });
    const act = acts[event.key.toLowerCase()];
    if (!act) return;
    act();
    event.preventDefault();
    event.stopPropagation();
  }

  wheeled(event) {
    event.preventDefault();
    event.stopPropagation();
    if (event.ctrlKey) this.choose({ zoom: Math.min(8, Math.max(1, this.chosen.zoom - Math.sign(event.deltaY) * 0.25)) });
    else this.show(this.slice - Math.sign(event.deltaY));
  }

  // --- what is drawn ---------------------------------------------------------------------------------------------

  get preview() {
    return Math.abs(this.chosen.threshold - this.data.threshold) > 0.004;
  }

  /** What is marked, and from which value on: the stored mask, or what another threshold would mark. */
  async source() {
    return this.preview ? [await this.volume("probability"), Math.ceil(this.chosen.threshold * FULL)] : [this.masks[0], 1];
  }

  async draw() {
    const { marking, map, opacity, marks } = this.chosen;
    const asked = this.chosen;
    const grey = await this.volume(asked.channel);
    const [source, least] = await this.source();
    if (asked !== this.chosen) return; // the reader has chosen again meanwhile
    const swapped = this.drawn !== asked.channel;
    if (swapped) this.canvas.swap(grey);
    this.drawn = asked.channel;
    const shown = [marks !== "b", marks !== "a"];
    this.marks.forEach((target, index) => {
      const [from, first] = index ? [this.masks[1], 1] : [source, least];
      mark(target, from, first, marking === "outline");
      this.canvas.fill(index, target.values);
      this.canvas.weigh(index, marking === "off" || !shown[index] ? 0 : marking === "outline" ? 1 : opacity);
    });
    await this.heat(map, opacity);
    this.marked = [source, least];
    this.canvas.refresh(swapped);
    this.tell();
  }

  async heat(map, opacity) {
    this.maps ??= new Map();
    if (map !== "none" && !this.maps.has(map)) {
      this.wait.hidden = false;
      this.maps.set(map, await this.canvas.lay(await this.volume(map), "metseg-heat", 0, 1));
      this.wait.hidden = true;
    }
    for (const [name, layer] of this.maps) this.canvas.weigh(layer, name === map ? opacity : 0);
  }

  /** Bring every control and every word in line with what is shown. */
  tell() {
    const { data, chosen, slice } = this;
    for (const [name, choice] of Object.entries(this.choices)) choice.show(chosen[name]);
    this.dials.level.show((chosen.low + chosen.high) / 2);
    this.dials.width.show(chosen.high - chosen.low);
    for (const name of ["zoom", "opacity", "threshold"]) this.dials[name].show(chosen[name]);
    this.dials.opacity.root.hidden = chosen.marking !== "fill" && chosen.map === "none";
    this.reset.hidden = !this.preview;
    this.bar.show(slice, this.neighbour(-1), this.neighbour(1));
    const sequence = data.channels.find(([value]) => value === chosen.channel)[1];
    const note = this.preview ? `Preview at ${chosen.threshold.toFixed(2)}, stored at ${data.threshold.toFixed(2)}. ` : "";
    const where = `Slice ${slice + 1} of ${data.slices}, ${sequence}`;
    const area = this.marked ? counted(...this.marked, slice) : data.areas[slice];
    const numbers = data.touching[slice];
    const named = numbers.length ? `lesion${numbers.length > 1 ? "s" : ""} ${numbers.join(", ")}` : "an area";
    this.words = `${note}${where}. ${area ? `Marked: ${named}, ${area} px.` : "No lesion is marked here."}`;
    if (this.ready) this.picture.setAttribute("aria-label", this.words);
    this.note.textContent = note;
    this.caption.textContent = where;
    if (!this.ready) {
      this.first.src = this.address(`${data.pictures}/${slice}`);
      this.first.alt = this.words;
    }
    clearTimeout(this.timer);
    this.timer = setTimeout(() => slice !== this.sent && this.setStateValue?.("slice", (this.sent = slice)), TOLD_AFTER_MS);
  }

  /** Write each lesion's number beside it, where one plane is shown. */
  number() {
    const spots = this.ready && !this.chosen.planes && this.chosen.marking !== "off" ? this.here() : [];
    const labels = spots.flatMap(({ number, corner }) => {
      const place = this.canvas.spot([corner[1], corner[0], this.slice]);
      return place ? [element("span", { class: "number", style: `left:${place[0]}px;top:${place[1]}px` }, String(number))] : [];
    });
    this.numbers.replaceChildren(...labels);
  }

  close() {
    this.stop.abort();
    clearTimeout(this.timer);
    this.canvas.close();
    this.root.remove();
  }
}
