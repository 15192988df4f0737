// The viewer's keyboard shortcuts, and the line that lists them.
import { createElement } from "./controls.js";

const SHORTCUTS = [
  { keys: "↑ ↓", text: "slice", needsSlices: true },
  { keys: "N P", text: "next, previous lesion", needsSlices: true },
  { keys: "1 2 3", text: "sequence", needsChannels: true },
  { keys: "O", text: "outline, fill, off" },
  { keys: "M", text: "map" },
  { keys: "V", text: "three planes", needsSlices: true },
  { keys: "+ −", text: "zoom" },
  { keys: "[ ]", text: "opacity" },
  { keys: "0", text: "reset" },
];
const SLICES_PER_PAGE = 10;

/** The shortcuts that do something for this scan, as a line that is always visible. */
export function createLegend({ sliceCount, channels }) {
  const shown = SHORTCUTS.filter(
    ({ needsSlices, needsChannels }) => (!needsSlices || sliceCount > 1) && (!needsChannels || channels.length > 1),
  );
  const line = createElement("div", { class: "keys" }, "Keys: ");
  shown.forEach(({ keys, text }, index) => {
    keys.split(" ").forEach((key) => line.append(createElement("kbd", {}, key), " "));
    line.append(text + (index < shown.length - 1 ? " · " : ""));
  });
  return line;
}

/** Perform what a key stands for on the viewer. */
export function handleKey(viewer, event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const isOnSlider = event.target.tagName === "INPUT";
  const actions = { ...generalActions(viewer), ...(isOnSlider ? {} : sliceActions(viewer)) };
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
    v: () => viewer.data.sliceCount > 1 && viewer.cycle("multiplanar"),
    "+": () => viewer.nudge("zoom", 0.25),
    "=": () => viewer.nudge("zoom", 0.25),
    "-": () => viewer.nudge("zoom", -0.25),
    "[": () => viewer.nudge("opacity", -0.1),
    "]": () => viewer.nudge("opacity", 0.1),
    0: () => viewer.resetView(),
  };
  viewer.data.channels.forEach(([channel], index) => (actions[index + 1] = () => viewer.update({ channel })));
  return actions;
}

function sliceActions(viewer) {
  const move = (by) => () => viewer.showSlice(viewer.slice + by);
  return {
    arrowup: move(1),
    arrowright: move(1),
    arrowdown: move(-1),
    arrowleft: move(-1),
    pageup: move(SLICES_PER_PAGE),
    pagedown: move(-SLICES_PER_PAGE),
    home: () => viewer.showSlice(0),
    end: () => viewer.showSlice(viewer.data.sliceCount - 1),
  };
}
