// What stands around the picture: the buttons above it, the sliders below it.
import { ButtonGroup, Slider, createElement } from "./controls.js";

export const MASK_STYLES = [["outline", "Outline"], ["fill", "Fill"], ["off", "Off"]];
const MAPS = { none: "No map", probability: "Probability", uncertainty: "Uncertainty" };

/** Limits of the settings that are numbers. */
export const RANGES = {
  level: { min: 0, max: 255, step: 1 },
  window: { min: 2, max: 510, step: 1 },
  zoom: { min: 1, max: 8, step: 0.1 },
  opacity: { min: 0.1, max: 1, step: 0.05 },
  threshold: { min: 0.01, max: 0.99, step: 0.01 },
};

const rounded = (value) => String(Math.round(value));
const FORMATS = {
  level: rounded,
  window: rounded,
  zoom: (value) => `${value.toFixed(1)}×`,
  opacity: (value) => `${Math.round(100 * value)}%`,
  threshold: (value) => value.toFixed(2),
};

/** One picture, two sequences side by side, or three planes, as far as the scan has them. */
function layoutsOf({ channels, sliceCount }) {
  const [one, two, planes] = [["one", "One"], ["two", "Two"], ["planes", "Three planes"]];
  return [one, ...(channels.length > 1 ? [two] : []), ...(sliceCount > 1 ? [planes] : [])];
}

/** The button groups by the setting that each of them changes; `onChange` gets the changed settings. */
export function createButtonGroups(data, onChange) {
  const group = (label, name, options) => new ButtonGroup(label, options, (value) => onChange({ [name]: value }));
  const groups = {
    channel: group("Sequence", "channel", data.channels),
    maskStyle: group("Mask style", "maskStyle", MASK_STYLES),
    map: group("Map overlay", "map", data.maps.map((name) => [name, MAPS[name]])),
    layout: group("Layout", "layout", layoutsOf(data)),
  };
  if (data.second || data.own) {
    const [first, second] = data.second?.names ?? ["Reviewed"];
    const seconds = second ? [["second", second]] : [];
    const owns = data.own ? [["own", "Model's"]] : [];
    groups.masks = group("Masks", "masks", [...(second ? [["both", "Both"]] : []), ["first", first], ...seconds, ...owns]);
  }
  groups.channel.root.hidden = data.channels.length === 1;
  groups.layout.root.hidden = layoutsOf(data).length === 1;
  return groups;
}

/** The buttons that act at once; `handlers` by their names. */
export function createActions({ spacingMm }, { review, ruler, fullScreen, save }) {
  const button = (text, name, onclick, isOffered = true) => ({
    root: createElement("button", { type: "button", class: "framed", title: name, "aria-label": name, onclick, hidden: !isOffered }, text),
  });
  return {
    review: button("Review", "Review", review),
    ruler: button("Ruler", "Ruler", ruler, Boolean(spacingMm)),
    fullScreen: button("Full screen", "Full screen", fullScreen, document.fullscreenEnabled),
    save: button("PNG", "This slice, PNG", save),
  };
}

/** The sliders by name; `handlers` gets the value of each. */
export function createSliders(handlers) {
  const slider = (label, name) => new Slider(label, { ...RANGES[name], format: FORMATS[name] }, handlers[name]);
  return {
    level: slider("Level", "level"),
    window: slider("Window", "window"),
    zoom: slider("Zoom", "zoom"),
    opacity: slider("Opacity", "opacity"),
    threshold: slider("Threshold", "threshold"),
  };
}

export function createBar(className, controls) {
  return createElement("div", { class: className }, ...Object.values(controls).map((control) => control.root));
}
