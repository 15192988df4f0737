// What a reader reviews with: tools above the picture, and below it the lesions to keep, reject, join and name.
import { ButtonGroup, Slider, createElement } from "./controls.js";

const TOOLS = [["none", "No tool"], ["brush", "Brush"], ["eraser", "Eraser"]];
const STRUCTURES = [["core", "Tumour"], ["whole", "Whole"]];
const TIPS = [[false, "Slice"], [true, "Ball"]];
const CONTROLS = "input, button";
const RADIUS = { min: 0.5, max: 15, step: 0.5 };

const button = (text, onclick, attributes = {}) =>
  createElement("button", { type: "button", class: "framed", onclick, ...attributes }, text);

export class ReviewPanel {
  constructor(reviewing) {
    this.reviewing = reviewing;
    const { data } = reviewing;
    const pen = (name) => (value) => reviewing.setPen({ [name]: value });
    const unit = data.spacingMm ? "mm" : "px";
    this.groups = {
      tool: new ButtonGroup("Tool", TOOLS, pen("tool")),
      structure: new ButtonGroup("Structure", STRUCTURES, pen("structure")),
      isBall: new ButtonGroup("Tip", TIPS, pen("isBall")),
    };
    this.groups.structure.root.hidden = data.structure !== "core";
    this.groups.isBall.root.hidden = data.sliceCount === 1;
    this.radius = new Slider("Radius", { ...RADIUS, format: (value) => `${value} ${unit}` }, pen("radius"));
    this.undo = button("Undo", () => reviewing.undo());
    this.join = button("Join selected", () => this.joinSelected(), { disabled: true });
    this.rows = createElement("ul");
    this.mayTeach = createElement("input", { type: "checkbox", onchange: () => reviewing.draft.setMayTeach(this.mayTeach.checked) });
    this.apply = button("Apply", () => reviewing.apply(), { class: "primary" });
    this.withdraw = button("Back to the model's answer", () => reviewing.withdraw());
    this.status = createElement("span", { role: "status" });
    this.newer = createElement(
      "span",
      { hidden: true },
      button("Load that review, keep my changes", () => reviewing.loadNewer(true), { class: "primary" }), " ",
      button("Discard my changes", () => reviewing.loadNewer(false)),
    );
    this.selected = new Set();
    const tools = [...Object.values(this.groups), this.radius].map(({ root }) => root);
    const bar = (...controls) => createElement("div", { class: "bar" }, ...controls);
    const teach = createElement("label", {}, this.mayTeach, "May be used for training");
    const section = (...bars) => createElement("section", { class: "review", "aria-label": "Review", hidden: true }, ...bars);
    this.tools = section(bar(...tools, this.undo, this.apply, this.status, this.newer));
    this.root = section(this.rows, bar(this.join, this.withdraw, teach));
  }

  /** Show all lesions again, after a decision. */
  renderRows() {
    const { draft, lesions } = this.reviewing;
    const focused = this.focusedControl();
    this.rows.replaceChildren(...lesions.map((lesion) => this.row(lesion)));
    if (focused) this.rows.children[focused.row]?.querySelectorAll(CONTROLS)[focused.control]?.focus();
    this.mayTeach.checked = draft.mayTeach;
  }

  /** Which control of which row has the focus, which goes to its successor when the rows are replaced. */
  focusedControl() {
    const { activeElement } = this.rows.getRootNode();
    const row = [...this.rows.children].findIndex((each) => each.contains(activeElement));
    return row < 0 ? null : { row, control: [...this.rows.children[row].querySelectorAll(CONTROLS)].indexOf(activeElement) };
  }

  row(lesion) {
    const { draft, data, viewer } = this.reviewing;
    const { decision, target, label } = draft.decisionOn(lesion);
    const isKept = decision === "keep";
    const name = `${data.finding} ${lesion.isRejected ? "rejected" : lesion.number}`;
    const decide = (change) => () => {
      draft.decide(lesion, change);
      this.renderRows();
    };
    const select = createElement("input", {
      type: "checkbox",
      "aria-label": `Select ${name}`,
      checked: this.selected.has(lesion.key),
      hidden: lesion.isRejected || !isKept,
      onchange: ({ target: { checked } }) => this.select(lesion, checked),
    });
    const go = button(lesion.isRejected ? "–" : String(lesion.number), () => this.reviewing.goTo(lesion), { "aria-label": `Go to ${name}` });
    if (!lesion.isRejected) go.style.color = viewer.scene.colorOf(lesion.number);
    const text = createElement("input", {
      type: "text", maxlength: 64, placeholder: "Label", "aria-label": `Label of ${name}`, value: label ?? "",
      onchange: ({ target: { value } }) => draft.decide(lesion, { label: value.trim() || null }),
    });
    const isTarget = createElement("input", {
      type: "checkbox", checked: target ?? lesion.target,
      onchange: ({ target: { checked } }) => draft.decide(lesion, { target: checked }),
    });
    const verdict = isKept ? button("Reject", decide({ decision: "reject" })) : button("Keep", decide({ decision: "keep" }));
    verdict.setAttribute("aria-label", `${isKept ? "Reject" : "Keep"} ${name}`);
    const separate = button("Separate", () => {
      draft.separate(lesion);
      this.renderRows();
    }, { hidden: lesion.isRejected || !draft.isJoined(lesion) });
    return createElement(
      "li",
      { class: isKept ? "" : "rejected" },
      select, go, createElement("span", {}, lesion.size), text,
      createElement("label", { hidden: !isKept || data.structure !== "core" }, isTarget, "Target"),
      separate, verdict,
    );
  }

  select(lesion, isSelected) {
    if (isSelected) this.selected.add(lesion.key);
    else this.selected.delete(lesion.key);
    this.join.disabled = this.selected.size < 2;
  }

  joinSelected() {
    const { draft, lesions } = this.reviewing;
    draft.join(lesions.filter(({ key }) => this.selected.has(key)));
    this.selected.clear();
    this.join.disabled = true;
    this.renderRows();
    this.rows.querySelector(CONTROLS).focus(); // the button, which is disabled now, had it
  }

  get isOpen() {
    return !this.root.hidden;
  }

  open(isOpen) {
    this.tools.hidden = this.root.hidden = !isOpen;
  }

  /** Show the settings of the pen, and what was stored last. */
  render({ pen, strokes, status, isSaving, isOutdated, isReviewed }) {
    for (const [name, group] of Object.entries(this.groups)) group.set(pen[name]);
    this.radius.set(pen.radius);
    this.undo.disabled = !strokes;
    this.apply.disabled = this.withdraw.disabled = isSaving || isOutdated;
    this.newer.hidden = !isOutdated;
    this.withdraw.hidden = !isReviewed;
    this.status.textContent = status;
  }
}
