// Reviewing a result: the panel, the brush and the draft of the review, for one viewer.
import { Brush, STROKES } from "./brush.js";
import { containsVoxel } from "./lesions.js";
import { ReviewDraft } from "./review.js";
import { ReviewPanel } from "./reviewPanel.js";

export class Reviewing {
  constructor(viewer) {
    this.viewer = viewer;
    this.data = viewer.data;
    this.pen = { tool: "none", structure: this.data.structure, isBall: false, radius: 3 };
    this.status = this.data.review.text;
    this.panel = new ReviewPanel(this);
  }

  get isOpen() {
    return this.panel.isOpen;
  }

  /** Whether a drag on the picture draws. */
  get hasTool() {
    return this.isOpen && this.pen.tool !== "none";
  }

  toggle() {
    if (!this.viewer.ready) return;
    if (this.isOpen) this.setPen({ tool: "none" });
    else this.start();
    this.panel.open(!this.isOpen);
    this.viewer.render();
  }

  /** Prepare the draft; the first time that the panel is opened. */
  start() {
    if (this.draft) return;
    const { numbered, canvas } = this.viewer.scene;
    const kept = this.data.lesions.map((lesion) => ({
      ...lesion,
      key: String(lesion.number),
      contains: (voxel) => containsVoxel(numbered.get(lesion.number), voxel),
    }));
    const rejected = this.data.review.rejected.map((lesion) => ({
      ...lesion,
      key: `rejected ${lesion.number}`,
      isRejected: true,
      contains: (voxel) => voxel.every((at, axis) => at >= lesion.first[axis] && at < lesion.stop[axis]),
    }));
    this.lesions = [...kept, ...rejected];
    this.draft = new ReviewDraft(this.data.review.body, this.lesions);
    this.brush = new Brush(canvas.nv, this.data.spacingMm, () => this.render());
    this.panel.renderRows();
  }

  /** Change the tool, or how it draws. */
  setPen(change) {
    if (!this.viewer.ready) return;
    this.start();
    this.pen = { ...this.pen, ...change };
    const { tool, structure, radius, isBall } = this.pen;
    if (tool !== "none") this.panel.open(true);
    if (tool === "none") this.brush.rest();
    else this.brush.use({ value: STROKES[structure][tool], radius, isBall });
    this.viewer.setRuler(false);
    this.viewer.scene.canvas.setTool(tool === "none" ? null : "brush");
    this.viewer.render();
  }

  togglePen(tool) {
    this.setPen({ tool: this.pen.tool === tool ? "none" : tool });
  }

  undo() {
    this.brush?.undo();
    this.render();
  }

  /** Show a lesion; of a rejected one, the place where it was. */
  goTo({ number, isRejected, peak: [slice, row, column] }) {
    const { viewer } = this;
    if (!isRejected) return viewer.showLesion(number);
    viewer.slice = slice;
    viewer.scene.canvas.moveCrosshair([column, row, slice]);
    viewer.render();
  }

  /** Send the review to the page, which stores it. */
  async apply() {
    const { viewer, data } = this;
    this.setSaving();
    const thresholds = viewer.scene.isPreview(viewer.settings) ? { [data.structure]: viewer.settings.threshold } : {};
    this.send(this.draft.build(await this.brush.strokesMask(), thresholds));
  }

  withdraw() {
    this.setSaving();
    this.send(null);
  }

  setSaving() {
    this.isSaving = true;
    this.status = "Saving …";
    this.render();
  }

  send(review) {
    this.viewer.setTriggerValue("review", { number: this.data.review.number, review });
  }

  /** Take over why a review was not stored. */
  receive({ review: { problem } }) {
    if (!problem || problem.serial === this.problemSerial) return;
    this.problemSerial = problem.serial;
    this.isSaving = false;
    this.status = problem.text;
    this.render();
  }

  render() {
    const { pen, status, isSaving, brush, data } = this;
    this.panel.render({ pen, strokes: brush?.strokes, status, isSaving, isReviewed: data.review.body !== null });
  }
}
