// Drawing with the keyboard alone: Shift and an arrow move the tip of the pen in the slice, Enter draws at it.

const DIRECTIONS = { arrowup: [0, -1], arrowdown: [0, 1], arrowleft: [-1, 0], arrowright: [1, 0] };

/** What a key does with the pen of a viewer; undefined where it has another meaning. */
export function penAction(viewer, { key, shiftKey, target }) {
  const direction = DIRECTIONS[key.toLowerCase()];
  if (!viewer.reviewing.hasTool) return undefined;
  if (direction && shiftKey) return () => moveTip(viewer, direction);
  if (key === "Enter" && target === viewer.stage.root) return () => viewer.reviewing.stamp();
  return undefined;
}

/** Move the crosshair by one voxel of the slice to where `direction` (right, down) points on the screen. */
function moveTip({ scene: { canvas } }, [right, down]) {
  canvas.showCrosshair();
  const slices = canvas.planes().find(({ axis }) => axis === 2);
  const steps = [slices.across, slices.down].map(([x, y], axis) => ({ axis, along: x * right + y * down }));
  const { axis, along } = steps.reduce((best, each) => (Math.abs(each.along) > Math.abs(best.along) ? each : best));
  const voxel = canvas.crosshairVoxel();
  canvas.moveCrosshair(voxel.with(axis, voxel[axis] + Math.sign(along)));
}
