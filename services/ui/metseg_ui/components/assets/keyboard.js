// The viewer's keyboard shortcuts, and the lines that list them and what the mouse does.
import { createElement } from "./controls.js";
import { penAction } from "./penKeys.js";

const SHORTCUTS = [
  { keys: "↑ ↓", text: "slice", needsSlices: true },
  { keys: "N P", text: "next, previous outline", needsLesions: true },
  { keys: "1 2 3", text: "sequence", needsChannels: true },
  { keys: "O", text: "outline, fill, off" },
  { keys: "M", text: "map" },
  { keys: "T", text: "two sequences", needsChannels: true },
  { keys: "V", text: "three planes", needsSlices: true },
  { keys: "F", text: "full screen", needsFullScreen: true },
  { keys: "R", text: "ruler", needsSpacing: true },
  { keys: "B E U", text: "brush, eraser, undo" },
  { keys: "Shift+↑↓←→ Enter", text: "move the brush, draw" },
  { keys: "+ −", text: "zoom" },
  { keys: "[ ]", text: "opacity" },
  { keys: "0", text: "reset" },
];
const SLICES_PER_PAGE = 10;
export const ZOOM_STEP = 0.25;

const MOUSE = [
  { text: "wheel: slice", needsSlices: true },
  { text: "Ctrl + wheel: zoom" },
  { text: "drag: move" },
  { text: "right drag: level, window" },
  { text: "click in three planes: crosshair", needsSlices: true },
];
/** Elements that use keys themselves; a table leaves letters and digits to the viewer. */
const USES_KEYS = "input, textarea, select, [contenteditable=true], [role=slider], [role=listbox], [role=radio], iframe";
const TABLE = "[data-testid=stDataFrame], canvas";

/** The shortcuts that do something for this scan, and what the mouse does, as lines that are always visible. */
export function createLegend({ sliceCount, channels, lesions, spacingMm }) {
  const has = {
    needsSlices: sliceCount > 1,
    needsChannels: channels.length > 1,
    needsLesions: lesions.length > 0,
    needsSpacing: Boolean(spacingMm),
    needsFullScreen: document.fullscreenEnabled,
  };
  const applies = (entry) => Object.entries(has).every(([need, isMet]) => isMet || !entry[need]);
  const keys = createElement("div", { class: "mouse" }, "Keys: ");
  SHORTCUTS.filter(applies).forEach((shortcut, index) => {
    keys.append(index ? " · " : "");
    shortcut.keys.split(" ").forEach((key) => keys.append(createElement("kbd", {}, key), " "));
    keys.append(shortcut.text);
  });
  const mouse = createElement("div", { class: "mouse" }, `Mouse: ${MOUSE.filter(applies).map(({ text }) => text).join(" · ")}`);
  const touch = createElement("div", { class: "touch" }, "Swipe: slice · pinch: zoom · drag when zoomed: move");
  return createElement("div", { class: "keys" }, keys, mouse, touch);
}

/** Perform what a key stands for on the viewer, which has the focus. */
export function handleKey(viewer, event) {
  if (event.target.type === "text") return;
  const draw = event.target.tagName === "INPUT" ? undefined : penAction(viewer, event);
  if (draw) return perform({ [event.key.toLowerCase()]: draw }, event);
  const isOnSlider = event.target.tagName === "INPUT";
  perform({ ...generalActions(viewer), ...(isOnSlider ? {} : { ...arrowActions(viewer), ...pageActions(viewer) }) }, event);
}

/** The same for a key that is pressed elsewhere on the page, unless something else uses it. */
export function handlePageKey(viewer, event) {
  const [target] = event.composedPath();
  if (event.defaultPrevented || viewer.root.contains(target) || !viewer.root.isConnected) return;
  if (target.closest?.(USES_KEYS) || document.querySelector("[role=dialog]")) return;
  const isOnTable = target.closest?.(TABLE);
  perform({ ...generalActions(viewer), ...(isOnTable ? {} : arrowActions(viewer)) }, event);
}

function perform(actions, event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const action = actions[event.key.toLowerCase()];
  if (!action) return;
  action();
  event.preventDefault();
  event.stopPropagation();
}

function generalActions(viewer) {
  const actions = {
    n: () => viewer.stepToLesion(1),
    p: () => viewer.stepToLesion(-1),
    o: () => viewer.cycle("maskStyle"),
    m: () => viewer.cycle("map"),
    t: () => viewer.toggleLayout("two"),
    v: () => viewer.toggleLayout("planes"),
    f: () => viewer.toggleFullScreen(),
    r: () => viewer.setRuler(!viewer.settings.hasRuler),
    b: () => viewer.reviewing.togglePen("brush"),
    e: () => viewer.reviewing.togglePen("eraser"),
    u: () => viewer.reviewing.undo(),
    "+": () => viewer.zoomTo(viewer.settings.zoom + ZOOM_STEP),
    "=": () => viewer.zoomTo(viewer.settings.zoom + ZOOM_STEP),
    "-": () => viewer.zoomTo(viewer.settings.zoom - ZOOM_STEP),
    "[": () => viewer.nudge("opacity", -0.1),
    "]": () => viewer.nudge("opacity", 0.1),
    0: () => viewer.resetView(),
  };
  viewer.data.channels.forEach(([channel], index) => (actions[index + 1] = () => viewer.update({ channel })));
  return actions;
}

function arrowActions(viewer) {
  const move = (by) => () => viewer.showSlice(viewer.slice + by);
  return { arrowup: move(1), arrowright: move(1), arrowdown: move(-1), arrowleft: move(-1) };
}

function pageActions(viewer) {
  return {
    pageup: () => viewer.showSlice(viewer.slice + SLICES_PER_PAGE),
    pagedown: () => viewer.showSlice(viewer.slice - SLICES_PER_PAGE),
    home: () => viewer.showSlice(0),
    end: () => viewer.showSlice(viewer.data.sliceCount - 1),
  };
}
