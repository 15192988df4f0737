// The viewer's controls: plain elements that tell a handler what was chosen.

/** An element with its attributes, listeners (`onclick`) and children. */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

/** Buttons of which one is pressed. `options` are [value, words]; `pick` is told the value. */
export class Choice {
  constructor(label, options, pick) {
    this.buttons = new Map(
      options.map(([value, words]) => [value, element("button", { type: "button", onclick: () => pick(value) }, words)]),
    );
    this.root = element("div", { class: "choice", role: "group", "aria-label": label }, ...this.buttons.values());
  }

  show(value) {
    for (const [each, button] of this.buttons) button.setAttribute("aria-pressed", String(each === value));
  }
}

/** A slider with its name and its value in words. */
export class Dial {
  constructor(label, { min, max, step, value, words = String }, turned) {
    this.words = words;
    this.input = element("input", { type: "range", min, max, step, "aria-label": label });
    this.output = element("output");
    this.input.addEventListener("input", () => turned(Number(this.input.value)));
    this.root = element("label", {}, label, this.output, this.input);
    this.show(value);
  }

  show(value) {
    this.input.value = value;
    this.output.textContent = this.words(value);
    this.input.setAttribute("aria-valuetext", this.words(value));
  }
}

/** The slice slider, the lesion area along it, and the way to the next lesion on either side. */
export class SliceBar {
  constructor(areas, turned, step) {
    const tallest = Math.max(1, ...areas);
    this.bars = areas.map((area) =>
      element("i", {}, element("b", { style: `height:${Math.round((100 * area) / tallest)}%` })),
    );
    this.input = element("input", { type: "range", min: 1, max: areas.length, step: 1, "aria-label": "Slice" });
    this.input.addEventListener("input", () => turned(Number(this.input.value) - 1));
    const arrow = (sign, words, way) =>
      element("button", { type: "button", class: "lone", "aria-label": words, title: words, onclick: () => step(way) }, sign);
    this.back = arrow("‹", "Previous slice with a lesion", -1);
    this.ahead = arrow("›", "Next slice with a lesion", 1);
    const found = areas.filter((area) => area > 0).length;
    this.profile = element(
      "div",
      { class: "profile", role: "img", "aria-label": `Lesion area by slice: ${found} of ${areas.length} slices show lesions.` },
      ...this.bars,
    );
    this.root = element("div", { class: "slices", hidden: areas.length === 1 });
    this.root.append(this.back, element("div", {}, this.input, this.profile), this.ahead);
  }

  show(slice, before, after) {
    this.input.value = slice + 1;
    this.input.setAttribute("aria-valuetext", `Slice ${slice + 1} of ${this.bars.length}`);
    this.bars.forEach((bar, index) => bar.classList.toggle("here", index === slice));
    this.back.disabled = before === undefined;
    this.ahead.disabled = after === undefined;
  }
}

/** The keys and what they do, as a line that is always in sight. */
export function legend(keys) {
  const line = element("div", { class: "keys" }, "Keys: ");
  keys.forEach(([signs, words], index) => {
    signs.split(" ").forEach((sign) => line.append(element("kbd", {}, sign), " "));
    line.append(words + (index < keys.length - 1 ? " · " : ""));
  });
  return line;
}
