// NiiVue as the viewer uses it: one grey volume and, above it, masks and a heat map, all on one grid.
import { slicePlane, toMm, toVoxel } from "./volumes.js";

const MASK_COLORMAPS = [
  { R: [255, 255, 255], G: [92, 92, 92], B: [56, 56, 56], A: [0, 255, 255], I: [0, 110, 255] },
  { R: [45, 45, 45], G: [212, 212, 212], B: [191, 191, 191], A: [0, 255, 255], I: [0, 110, 255] },
];
const HEAT_COLORMAP = { R: [0, 40, 250, 255], G: [0, 90, 150, 250], B: [0, 220, 40, 190], A: [0, 70, 160, 215], I: [0, 16, 128, 255] };
const MULTIPLANAR = 3; // NiiVue's slice type
const [PAN, CROSSHAIR, WINDOWING] = [3, 8, 9]; // NiiVue's drag modes

export const maskColormap = (index) => `metseg-mask-${index}`;
export const HEAT = "metseg-heat";

export class Canvas {
  /** `onSlice(index)`: the reader moved to another slice; `onWindow(low, high)`: they changed the window by dragging;
   * `onDraw()`: after each frame. */
  constructor(element, { onSlice, onWindow, onDraw }) {
    this.element = element;
    this.callbacks = { onSlice, onWindow, onDraw };
    this.layers = [];
  }

  /** Show a volume in grey. WebGL is only requested here; an Error is thrown where it is not available. */
  async open(niivue, volume) {
    this.niivue = niivue;
    this.affine = volume.affine;
    this.isOriented = volume.isOriented;
    this.plane = slicePlane(volume.affine);
    const nv = new niivue.Niivue({
      backColor: [0, 0, 0, 1],
      crosshairColor: [0.96, 0.77, 0.33, 0.8],
      crosshairWidth: 0,
      dragAndDropEnabled: false,
      dragMode: WINDOWING,
      dragModePrimary: PAN,
      isAntiAlias: false,
      isRadiologicalConvention: true,
      isResizeCanvas: true,
      loadingText: "",
      logLevel: "error",
      multiplanarShowRender: 0,
      sagittalNoseLeft: true,
      sliceType: this.plane,
      isOrientationTextVisible: volume.isOriented,
    });
    await nv.attachToCanvas(this.element);
    this.nv = nv;
    MASK_COLORMAPS.forEach((colormap, index) => nv.addColormap(maskColormap(index), colormap));
    nv.addColormap(HEAT, HEAT_COLORMAP);
    this.base = await this.createImage(volume, "gray", 0, 255, 1);
    nv.addVolume(this.base);
    nv.onLocationChange = ({ mm }) => this.callbacks.onSlice(Math.round(toVoxel(this.affine, mm)[2]));
    nv.onIntensityChange = ({ cal_min: low, cal_max: high }) => this.callbacks.onWindow(low, high);
    const drawScene = nv.drawScene.bind(nv);
    nv.drawScene = (...given) => {
      const returned = drawScene(...given);
      this.callbacks.onDraw();
      return returned;
    };
  }

  createImage(volume, colormap, low, high, opacity) {
    return this.niivue.NVImage.new(volume.file.slice(0), "layer.nii", colormap, opacity, null, low, high);
  }

  /** Add a volume above the grey one, invisible at first; returns the layer's index. */
  async addLayer(volume, colormap) {
    this.layers.push(await this.createImage(volume, colormap, 0, 1, 0));
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
   * only uploaded if it has changed. */
  refresh(baseChanged) {
    const { nv } = this;
    const visible = this.layers.filter((layer) => layer.opacity > 0);
    nv.volumes = [this.base, ...visible];
    nv.overlays = visible;
    nv.refreshColormaps();
    if (baseChanged) nv.refreshLayers(this.base, 0);
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
    this.nv.scene.crosshairPos = this.nv.mm2frac(toMm(this.affine, voxel));
    this.nv.drawScene();
  }

  /** The voxel (column, row, slice) under the crosshair. */
  crosshairVoxel() {
    return toVoxel(this.affine, this.nv.frac2mm(this.nv.scene.crosshairPos)).map(Math.round);
  }

  setZoom(factor) {
    const [x, y, z] = factor === 1 ? [0, 0, 0] : this.nv.scene.pan2Dxyzmm;
    this.nv.setPan2Dxyzmm([x, y, z, factor]);
  }

  /** Show three planes, or only that of the slices. */
  setMultiplanar(multiplanar) {
    this.nv.opts.dragModePrimary = multiplanar ? CROSSHAIR : PAN;
    this.nv.opts.crosshairWidth = multiplanar ? 1 : 0;
    this.nv.setIsOrientationTextVisible(this.isOriented);
    this.nv.setSliceType(multiplanar ? MULTIPLANAR : this.plane);
  }

  /** Where a voxel is drawn, in CSS pixels of the canvas; null if it is not visible. */
  toCanvasPoint(voxel) {
    const point = this.nv.frac2canvasPos(this.nv.mm2frac(toMm(this.affine, voxel)));
    const scale = this.element.width / this.element.clientWidth || 1;
    return point && point.map((value) => value / scale);
  }

  close() {
    this.nv?.cleanup();
    this.nv?.gl?.getExtension("WEBGL_lose_context")?.loseContext();
  }
}
