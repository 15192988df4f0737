// NiiVue as the viewer uses it: one grey volume, and over it marks and a map, all on one grid.
import { planeOf, toMm, toVoxel } from "./volumes.js";

const MARKS = [
  { R: [255, 255, 255], G: [92, 92, 92], B: [56, 56, 56], A: [0, 255, 255], I: [0, 110, 255] },
  { R: [45, 45, 45], G: [212, 212, 212], B: [191, 191, 191], A: [0, 255, 255], I: [0, 110, 255] },
];
const HEAT = { R: [0, 40, 250, 255], G: [0, 90, 150, 250], B: [0, 220, 40, 190], A: [0, 70, 160, 215], I: [0, 16, 128, 255] };
const THREE_PLANES = 3;
const [PAN, CROSSHAIR, WINDOWING] = [3, 8, 9];

export class Canvas {
  /** `moved` is told the slice when the reader moves through the volume, `windowed` the window's ends. */
  constructor(canvas, { moved, windowed, drawn }) {
    this.canvas = canvas;
    this.told = { moved, windowed, drawn };
    this.layers = [];
  }

  /** Show a volume in grey; only now is WebGL asked for, and an Error tells where there is none. */
  async open(niivue, volume) {
    this.niivue = niivue;
    this.affine = volume.affine;
    this.placed = volume.placed;
    this.plane = planeOf(volume.affine);
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
      isOrientationTextVisible: volume.placed,
    });
    await nv.attachToCanvas(this.canvas);
    this.nv = nv;
    ["metseg-a", "metseg-b"].forEach((name, index) => nv.addColormap(name, MARKS[index]));
    nv.addColormap("metseg-heat", HEAT);
    this.grey = await this.image(volume, "gray", 0, 255, 1);
    nv.addVolume(this.grey);
    nv.onLocationChange = ({ mm }) => this.told.moved(Math.round(toVoxel(this.affine, mm)[2]));
    nv.onIntensityChange = ({ cal_min: low, cal_max: high }) => this.told.windowed(low, high);
    const draw = nv.drawScene.bind(nv);
    nv.drawScene = (...given) => {
      const answer = draw(...given);
      this.told.drawn();
      return answer;
    };
  }

  image(volume, colours, low, high, opacity) {
    return this.niivue.NVImage.new(volume.file.slice(0), "layer.nii", colours, opacity, null, low, high);
  }

  /** Lay a volume over the picture; the number that it is called by afterwards. */
  async lay(volume, colours, low, high) {
    this.layers.push(await this.image(volume, colours, low, high, 0));
    return this.layers.length - 1;
  }

  /** Give a layer other values, which are drawn with the next `refresh`. */
  fill(layer, values) {
    this.layers[layer].img = values;
  }

  /** How strongly a layer is drawn, 0 to 1, from the next `refresh` on. */
  weigh(layer, opacity) {
    this.layers[layer].opacity = opacity;
  }

  /** Show another grey volume of the same grid, from the next `refresh` on. */
  swap(volume) {
    this.grey.img = volume.values;
  }

  /** Send what is shown to the graphics card. What is hidden costs nothing, and the grey volume, whose gradients
   * NiiVue computes each time, is sent only where it has changed. */
  refresh(swapped) {
    const { nv } = this;
    const shown = this.layers.filter((layer) => layer.opacity > 0);
    nv.volumes = [this.grey, ...shown];
    nv.overlays = shown;
    nv.refreshColormaps();
    if (swapped) nv.refreshLayers(this.grey, 0);
    shown.forEach((layer, index) => nv.refreshLayers(layer, index + 1));
    nv.drawScene();
  }

  window(low, high) {
    [this.grey.cal_min, this.grey.cal_max] = [low, high];
    this.nv.refreshLayers(this.grey, 0);
    this.nv.drawScene();
  }

  /** Go to a voxel (column, row, slice). */
  go(voxel) {
    this.nv.scene.crosshairPos = this.nv.mm2frac(toMm(this.affine, voxel));
    this.nv.drawScene();
  }

  /** The voxel that the crosshair is in. */
  at() {
    return toVoxel(this.affine, this.nv.frac2mm(this.nv.scene.crosshairPos)).map(Math.round);
  }

  zoom(factor) {
    const [x, y, z] = factor === 1 ? [0, 0, 0] : this.nv.scene.pan2Dxyzmm;
    this.nv.setPan2Dxyzmm([x, y, z, factor]);
  }

  /** One plane, that of the slices, or three. */
  planes(three) {
    this.nv.opts.dragModePrimary = three ? CROSSHAIR : PAN;
    this.nv.opts.crosshairWidth = three ? 1 : 0;
    this.nv.setIsOrientationTextVisible(this.placed);
    this.nv.setSliceType(three ? THREE_PLANES : this.plane);
  }

  /** Where a voxel is drawn, in CSS pixels of the canvas; null where it is not. */
  spot(voxel) {
    const place = this.nv.frac2canvasPos(this.nv.mm2frac(toMm(this.affine, voxel)));
    const scale = this.canvas.width / this.canvas.clientWidth || 1;
    return place && place.map((value) => value / scale);
  }

  close() {
    this.nv?.cleanup();
    this.nv?.gl?.getExtension("WEBGL_lose_context")?.loseContext();
  }
}
