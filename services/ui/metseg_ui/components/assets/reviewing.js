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
    this.problemSerial = this.data.review.problem?.serial;
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

  /** Draw at the crosshair. */
  stamp() {
    this.brush.stamp(this.viewer.scene.canvas.plane);
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

  /** Take over why a review was not stored, and which one is in force. */
  receive({ number, problem, text }) {
    const isRefused = problem && problem.serial !== this.problemSerial;
    if (isRefused) Object.assign(this, { problemSerial: problem.serial, isSaving: false, hasFailed: true, status: problem.text });
    this.isOutdated = number !== this.data.review.number && Boolean(this.unsaved);
    if (this.isOutdated) this.status = `Someone else has reviewed this scan meanwhile (${text}). Your changes are kept here and not stored.`;
    if (isRefused || this.isOutdated) this.render();
  }

  /** Whether the page's data are another reader's review, and this viewer stays until the reader of this one decides. */
  waitsFor(data) {
    return this.isOutdated && data.job === this.data.job && data.second?.volumes === this.data.second?.volumes;
  }

  /** What was changed and is not stored: changes of the draft, strokes, and the threshold if it was moved; null if
   * nothing. */
  get unsaved() {
    const { viewer: { scene, settings }, draft, brush, hasFailed } = this;
    if (!draft || this.isSaving) return null;
    const threshold = scene.isPreview(settings) ? settings.threshold : null;
    const isChanged = draft.changes.length > 0 || brush.strokes > 0 || threshold !== null || hasFailed;
    return isChanged ? { changes: draft.changes, strokes: brush.copy, threshold } : null;
  }

  /** Make changes again that an earlier viewer of the scan had not stored. */
  restore({ changes, strokes }) {
    this.start();
    this.draft.repeat(changes);
    if (strokes) this.brush.restore(strokes);
    this.panel.renderRows();
    this.render();
  }

  /** Show the other reader's review, with the changes made here on top of it or without them. */
  loadNewer(keepsChanges) {
    if (!keepsChanges) this.draft = null;
    this.viewer.reload();
  }

  render() {
    const { pen, status, isSaving, brush, data } = this;
    const { isOutdated } = this;
    this.panel.render({ pen, strokes: brush?.strokes, status, isSaving, isOutdated, isReviewed: data.review.body !== null });
  }
}
