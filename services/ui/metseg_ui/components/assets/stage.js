// The black area with the pictures: what lies above them, and what mouse and fingers do there.
import { createElement } from "./controls.js";
import { lesionLabels } from "./annotations.js";
import { ZOOM_STEP } from "./keyboard.js";
import { listenToTouch } from "./touch.js";

export class Stage {
  constructor(viewer) {
    this.viewer = viewer;
    this.fallback = createElement("img", { class: "fallback", alt: "" });
    this.note = createElement("span", { class: "note" });
    this.position = createElement("span");
    this.status = createElement("div", { class: "status", role: "status" }, "Loading the volume …");
    const caption = createElement("div", { class: "caption" }, this.note, this.position);
    const attributes = { class: "stage", tabindex: 0, role: "group", "aria-label": "Scan; keyboard shortcuts are listed below" };
    const pictures = viewer.scene.panes.map(({ root }) => root);
    this.root = createElement("div", attributes, ...pictures, this.fallback, caption, this.status);
    this.root.addEventListener("wheel", (event) => this.onWheel(event), { capture: true, passive: false });
    this.root.addEventListener("pointerdown", () => this.root.focus({ preventScroll: true }));
    this.root.addEventListener("contextmenu", (event) => event.preventDefault());
    listenToTouch(this.root, viewer);
  }

  onWheel(event) {
    const { viewer } = this;
    event.preventDefault();
    event.stopPropagation();
    const direction = Math.sign(event.deltaY);
    if (!event.ctrlKey) return viewer.showSlice(viewer.slice - direction);
    const position = viewer.ready && viewer.scene.panes.map(({ canvas, isOpen }) => isOpen && canvas.positionAt(event)).find(Boolean);
    viewer.zoomTo(viewer.settings.zoom - direction * ZOOM_STEP, position || viewer.focus());
  }

  showStatus(text) {
    this.status.textContent = text;
    this.status.hidden = !text;
  }

  /** Write each lesion's number next to it, in the plane of the slices. */
  renderLesionNumbers(pane) {
    pane.numbers.replaceChildren(
      ...lesionLabels(this.viewer, pane).map(({ number, color, left, top }) => {
        const name = number === this.viewer.lesion ? "number selected" : "number";
        return createElement("span", { class: name, style: `left:${left}px;top:${top}px;color:${color}` }, String(number));
      }),
    );
  }
}
