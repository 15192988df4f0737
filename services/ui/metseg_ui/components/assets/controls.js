// The viewer's controls: plain elements that call a handler with what was chosen.

/** An element with attributes, listeners (as `onclick`) and children. */
export function createElement(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

export const plural = (noun, count) => (count === 1 ? noun : `${noun}s`);

/** Buttons of which one is pressed. `options` are pairs of value and label. */
export class ButtonGroup {
  constructor(label, options, onSelect) {
    this.buttons = new Map(
      options.map(([value, text]) => [value, createElement("button", { type: "button", onclick: () => onSelect(value) }, text)]),
    );
    this.root = createElement("div", { class: "button-group", role: "group", "aria-label": label }, ...this.buttons.values());
  }

  has(value) {
    return this.buttons.has(value);
  }

  set(value) {
    for (const [each, button] of this.buttons) button.setAttribute("aria-pressed", String(each === value));
  }
}

/** A slider with its label and its value as text. */
export class Slider {
  constructor(label, { min, max, step, format }, onInput) {
    this.format = format;
    this.input = createElement("input", { type: "range", min, max, step, "aria-label": label });
    this.output = createElement("output");
    this.input.addEventListener("input", () => onInput(Number(this.input.value)));
    this.root = createElement("label", {}, label, this.output, this.input);
  }

  set(value) {
    this.input.value = value;
    this.output.textContent = this.format(value);
    this.input.setAttribute("aria-valuetext", this.format(value));
  }
}

/** The slice slider, the marked area in each slice below it, and buttons to the next marked slice on either side. */
export class SliceNavigator {
  constructor({ areasPx, finding, findings }, onSlice, onStep) {
    const largest = Math.max(1, ...areasPx);
    this.bars = areasPx.map((area) =>
      createElement("i", {}, createElement("b", { style: `height:${Math.round((100 * area) / largest)}%` })),
    );
    this.input = createElement("input", { type: "range", min: 1, max: areasPx.length, step: 1, "aria-label": "Slice" });
    this.input.addEventListener("input", () => onSlice(Number(this.input.value) - 1));
    const arrow = (sign, label, direction) =>
      createElement("button", { type: "button", class: "framed", "aria-label": label, title: label, onclick: () => onStep(direction) }, sign);
    this.previous = arrow("‹", `Previous slice with a ${finding}`, -1);
    this.next = arrow("›", `Next slice with a ${finding}`, 1);
    const affected = areasPx.filter((area) => area > 0).length;
    this.profile = createElement(
      "div",
      { class: "profile", role: "img", "aria-label": `Marked area by slice; ${findings} in ${affected} of ${areasPx.length} ${plural("slice", areasPx.length)}.` },
      ...this.bars,
    );
    this.root = createElement("div", { class: "slices", hidden: areasPx.length === 1 });
    this.root.append(this.previous, createElement("div", {}, this.input, this.profile), this.next);
  }

  set(slice, { hasPrevious, hasNext }) {
    this.input.value = slice + 1;
    this.input.setAttribute("aria-valuetext", `Slice ${slice + 1} of ${this.bars.length}`);
    this.bars.forEach((bar, index) => bar.classList.toggle("current", index === slice));
    this.previous.disabled = !hasPrevious;
    this.next.disabled = !hasNext;
  }
}
