// NiiVue as the viewer uses it: one grey volume and, above it, filled masks and heat maps, all on one grid.
import { slicePlane, toMm, toVoxel } from "./volumes.js";

const HEAT_COLORMAP = { R: [0, 40, 250, 255], G: [0, 90, 150, 250], B: [0, 220, 40, 190], A: [0, 70, 160, 215], I: [0, 16, 128, 255] };
const MULTIPLANAR = 3; // NiiVue's slice type
const PLANE_GAP_PX = 6;
const IN_PLANE_AXES = [[0, 1], [0, 2], [1, 2]]; // of axial, coronal and sagittal planes, as NiiVue numbers them
const AXES = [0, 1, 2];
const [MEASUREMENT, PAN, CROSSHAIR, WINDOWING] = [2, 3, 8, 9]; // NiiVue's drag modes
const RULER_COLOR = [0.96, 0.77, 0.33, 1];

export const maskColormap = (index) => `metseg-mask-${index}`;
export const HEAT = "metseg-heat";

/** A colormap that draws the value n in the n-th colour. */
function labelColormap(colors) {
  const listed = [colors[0], ...colors, colors.at(-1)];
  const [R, G, B] = [0, 1, 2].map((part) => listed.map((color) => color[part]));
  return { R, G, B, A: listed.map((_, index) => (index ? 255 : 0)), I: [...listed.keys()].with(-1, 255) };
}

export class Canvas {
  /** `onSlice(index)`: the reader moved to another slice; `onWindow(low, high)`: they changed the window by dragging;
   * `onDraw()`: after each frame. */
  constructor(element, { onSlice, onWindow, onDraw }) {
    this.element = element;
    this.callbacks = { onSlice, onWindow, onDraw };
    this.layers = [];
  }

  /** Show a volume in grey; `colors` are those of masks. WebGL is only requested here; an Error is thrown where it is not available. */
  async open(niivue, volume, colors) {
    this.niivue = niivue;
    this.affine = volume.affine;
    this.isOriented = volume.isOriented;
    this.plane = slicePlane(volume.affine);
    const nv = new niivue.Niivue({
      backColor: [0, 0, 0, 1],
      clipPlaneHotKey: "", // the viewer has its own keys
      viewModeHotKey: "",
      crosshairColor: [0.96, 0.77, 0.33, 0.8],
      crosshairWidth: 0,
      dragAndDropEnabled: false,
      dragMode: WINDOWING,
      dragModePrimary: PAN,
      isAntiAlias: false,
      isRadiologicalConvention: true,
      isResizeCanvas: true,
      loadingText: "",
      measureLineColor: RULER_COLOR,
      measureTextColor: RULER_COLOR,
      rulerColor: RULER_COLOR,
      rulerWidth: 2,
      logLevel: "error",
      multiplanarPadPixels: PLANE_GAP_PX,
      multiplanarShowRender: 0,
      sagittalNoseLeft: true,
      sliceType: this.plane,
      isOrientationTextVisible: volume.isOriented,
    });
    await nv.attachToCanvas(this.element);
    this.nv = nv;
    [colors.lesions, [colors.second], [colors.own]].forEach((each, index) => nv.addColormap(maskColormap(index), labelColormap(each)));
    nv.addColormap(HEAT, HEAT_COLORMAP);
    this.base = await this.createImage(volume, "gray", 0, 255, 1);
    nv.addVolume(this.base);
    nv.onLocationChange = ({ mm }) => this.callbacks.onSlice(Math.round(toVoxel(this.affine, mm)[2]));
    const { dragForPanZoom, drawScene } = nv;
    nv.dragForPanZoom = (...given) => {
      dragForPanZoom.apply(nv, given);
      nv.scene.pan2Dxyzmm = this.withinView(nv.scene.pan2Dxyzmm);
    };
    nv.drawScene = (...given) => {
      const returned = drawScene.apply(nv, given);
      this.reportWindow();
      this.callbacks.onDraw();
      return returned;
    };
    const corners = [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]].map((fraction) => this.voxelAt(fraction));
    this.voxelAxes = AXES.map((axis) => {
      const change = AXES.map((each) => Math.abs(corners[axis + 1][each] - corners[0][each]));
      return change.indexOf(Math.max(...change));
    });
  }

  /** Report the window where a drag changed it, for which NiiVue has no event. */
  reportWindow() {
    const { cal_min: low, cal_max: high } = this.base;
    if (low === this.reported?.low && high === this.reported?.high) return;
    this.reported = { low, high };
    this.callbacks.onWindow(low, high);
  }

  createImage(volume, colormap, low, high, opacity) {
    return this.niivue.NVImage.new(volume.file.slice(0), "layer.nii", colormap, opacity, null, low, high);
  }

  /** Add a volume above the grey one, invisible at first; `high` is the value at the end of its colormap. Returns the
   * layer's index. */
  async addLayer(volume, colormap, high) {
    this.layers.push(await this.createImage(volume, colormap, 0, high, 0));
    return this.layers.length - 1;
  }

  /** Replace the values of a layer; drawn by the next `refresh`. */
  setLayerValues(layer, values) {
    this.layers[layer].img = values;
  }

  /** Set the opacity of a layer, 0 to 1; drawn by the next `refresh`. */
  setLayerOpacity(layer, opacity) {
    this.layers[layer].opacity = opacity;
  }

  /** Show another grey volume on the same grid; drawn by the next `refresh`. */
  setBaseVolume(volume) {
    this.base.img = volume.values;
  }

  /** Upload the visible layers to the graphics card. The grey volume, whose gradients NiiVue computes each time, is
   * only uploaded if it has changed, or if the last layer above it was hidden, which NiiVue would still draw. */
  refresh(baseChanged) {
    const { nv } = this;
    const visible = this.layers.filter((layer) => layer.opacity > 0);
    nv.volumes = [this.base, ...visible];
    nv.overlays = visible;
    nv.refreshColormaps();
    if (baseChanged || (this.hasVisibleLayers && !visible.length)) nv.refreshLayers(this.base, 0);
    this.hasVisibleLayers = visible.length > 0;
    visible.forEach((layer, index) => nv.refreshLayers(layer, index + 1));
    nv.drawScene();
  }

  setWindow(low, high) {
    [this.base.cal_min, this.base.cal_max] = [low, high];
    this.nv.refreshLayers(this.base, 0);
    this.nv.drawScene();
  }

  /** Move the crosshair to a voxel (column, row, slice). */
  moveCrosshair(voxel) {
    this.nv.scene.crosshairPos = this.fractionOf(voxel);
    this.nv.drawScene();
  }

  showCrosshair() {
    this.nv.opts.crosshairWidth = 1;
  }

  /** The voxel (column, row, slice) under the crosshair. */
  crosshairVoxel() {
    return this.voxelAt(this.nv.scene.crosshairPos).map(Math.round);
  }

  /** A voxel's position as fractions of the volume; `true` makes NiiVue use the affine of an oblique volume. */
  fractionOf(voxel) {
    return this.nv.mm2frac(toMm(this.affine, voxel), 0, true);
  }

  voxelAt(fraction) {
    return toVoxel(this.affine, this.nv.frac2mm(fraction, 0, true));
  }

  // NiiVue zooms and pans in millimetres along the volume's axes, below called positions. A position p is drawn where
  // `zoom * p + pan` would be without zoom.

  get zoom() {
    return this.nv.scene.pan2Dxyzmm[3];
  }

  /** The position of a voxel. */
  positionOf(voxel) {
    return [...this.nv.frac2mm(this.fractionOf(voxel))].slice(0, 3);
  }

  /** The position under a point of the page; null if it is not above a plane. */
  positionAt({ clientX, clientY }) {
    const { left, top } = this.element.getBoundingClientRect();
    const position = [...this.nv.screenXY2mm((clientX - left) * this.pixelRatio, (clientY - top) * this.pixelRatio)];
    return position.some(Number.isNaN) ? null : position.slice(0, 3);
  }

  /** The position in the middle of the view. */
  get middle() {
    const { pan2Dxyzmm } = this.nv.scene;
    return this.extents.map(([low, high], axis) => ((low + high) / 2 - pan2Dxyzmm[axis]) / this.zoom);
  }

  get extents() {
    const { extentsMinOrtho, extentsMaxOrtho } = this.base;
    return AXES.map((axis) => [extentsMinOrtho[axis], extentsMaxOrtho[axis]]);
  }

  /** Zoom so that a position stays where it is drawn. */
  setZoom(zoom, position) {
    const pan = AXES.map((axis) => this.nv.scene.pan2Dxyzmm[axis] + (this.zoom - zoom) * position[axis]);
    this.nv.setPan2Dxyzmm(this.withinView(zoom === 1 ? [0, 0, 0, 1] : [...pan, zoom]));
  }

  /** Move the view so that a position is in its middle. */
  moveTo(position) {
    const pan = this.extents.map(([low, high], axis) => (low + high) / 2 - this.zoom * position[axis]);
    this.nv.setPan2Dxyzmm(this.withinView([...pan, this.zoom]));
  }

  /** Move the picture with a finger or a pointer from one point of the page to another. */
  drag(from, to) {
    const [before, now] = [from, to].map((point) => this.positionAt(point));
    if (!before || !now) return;
    const { pan2Dxyzmm: pan } = this.nv.scene;
    this.nv.setPan2Dxyzmm(this.withinView([...AXES.map((axis) => pan[axis] + this.zoom * (now[axis] - before[axis])), this.zoom]));
  }

  /** Limit a pan such that the middle of the view stays inside the volume. */
  withinView([x, y, z, zoom]) {
    const limited = [x, y, z].map((pan, axis) => {
      const [low, high] = this.extents[axis];
      const middle = (low + high) / 2;
      return Math.min(middle - zoom * low, Math.max(middle - zoom * high, pan));
    });
    return [...limited, zoom];
  }

  /** Show three planes, or only that of the slices. */
  setMultiplanar(multiplanar) {
    if (multiplanar === this.multiplanar) return;
    this.multiplanar = multiplanar;
    this.setTool(this.tool);
    this.nv.opts.crosshairWidth = multiplanar ? 1 : 0;
    this.nv.setIsOrientationTextVisible(this.isOriented);
    this.nv.setSliceType(multiplanar ? MULTIPLANAR : this.plane);
  }

  /** Let a drag measure a length with the "ruler" or draw with the "brush", or else move the picture or the crosshair. */
  setTool(tool) {
    this.tool = tool;
    if (!this.multiplanar) this.nv.opts.crosshairWidth = 0;
    this.nv.opts.dragModePrimary = { ruler: MEASUREMENT, brush: CROSSHAIR }[tool] ?? (this.multiplanar ? CROSSHAIR : PAN);
  }

  /** The length in mm that was measured last; undefined if there is none. */
  get measuredMm() {
    return this.nv.document.completedMeasurements.at(-1)?.distance;
  }

  clearRuler() {
    this.nv.clearMeasurements();
  }

  /** Show the same slice, part and window as another canvas on the same grid. */
  follow({ nv, base }) {
    const { scene } = this.nv;
    const isSame = (one, other) => one.every((value, index) => value === other[index]);
    const isWindowSame = base.cal_min === this.base.cal_min && base.cal_max === this.base.cal_max;
    const [position, pan] = [[...nv.scene.crosshairPos], [...nv.scene.pan2Dxyzmm]];
    if (isWindowSame && isSame(position, scene.crosshairPos) && isSame(pan, scene.pan2Dxyzmm)) return;
    Object.assign(scene, { crosshairPos: position, pan2Dxyzmm: pan });
    if (isWindowSame) this.nv.drawScene();
    else this.setWindow(base.cal_min, base.cal_max);
  }

  /** The planes that are shown. Of each: the voxel axis (0 column, 1 row, 2 slice) that it lies across and its index on
   * that axis, its frame (left, top, width, height), and where the voxel at `index` on the axis and 0 on the others is
   * drawn, with the way from there to the next voxel on the two other axes; all in CSS pixels of the canvas. */
  planes() {
    const crosshair = this.crosshairVoxel();
    return this.nv.screenSlices
      .filter(({ axCorSag }) => axCorSag < IN_PLANE_AXES.length)
      .map((tile) => {
        const axis = this.voxelAxes[2 - tile.axCorSag];
        const voxel = [0, 0, 0].with(axis, crosshair[axis]);
        const origin = this.pointIn(tile, voxel);
        const [across, down] = AXES.filter((each) => each !== axis).map((each) => {
          const next = this.pointIn(tile, voxel.with(each, 1));
          return [next[0] - origin[0], next[1] - origin[1]];
        });
        const frame = tile.leftTopWidthHeight.map((length) => length / this.pixelRatio);
        return { axis, index: crosshair[axis], frame, origin, across, down };
      });
  }

  /** Where a voxel is drawn in one of NiiVue's tiles. */
  pointIn({ axCorSag, leftTopMM, fovMM, leftTopWidthHeight: [left, top, width, height] }, voxel) {
    const position = this.positionOf(voxel);
    const [x, y] = IN_PLANE_AXES[axCorSag].map((axis, index) => (position[axis] - leftTopMM[index]) / fovMM[index]);
    return [(left + x * width) / this.pixelRatio, (top + (1 - y) * height) / this.pixelRatio];
  }

  /** Pixels of the canvas per CSS pixel. */
  get pixelRatio() {
    return this.element.width / this.element.clientWidth || 1;
  }

  /** Draw the picture onto another canvas. */
  drawTo(context) {
    this.nv.drawScene(); // WebGL discards its buffer once the browser has shown it
    context.drawImage(this.element, 0, 0, this.element.clientWidth, this.element.clientHeight);
  }

  close() {
    this.nv?.cleanup();
    this.nv?.gl?.getExtension("WEBGL_lose_context")?.loseContext();
  }
}
