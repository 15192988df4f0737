// A volume on the grid of another one, after a rigid motion.

/** The matrix (3 x 4) that applies `second` after `first`; both map points. */
export function compose(second, first) {
  return second.map((row) =>
    [0, 1, 2, 3].map((column) => row[0] * first[0][column] + row[1] * first[1][column] + row[2] * first[2][column] + (column === 3 ? row[3] : 0)),
  );
}

/** The inverse of an affine (3 x 4), by Cramer's rule. */
export function invert(affine) {
  const [u, v, w, t] = [0, 1, 2, 3].map((column) => affine.map((row) => row[column]));
  const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
  const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
  const determinant = dot(u, cross(v, w));
  return [cross(v, w), cross(w, u), cross(u, v)].map((row) => {
    const scaled = row.map((value) => value / determinant);
    return [...scaled, -dot(scaled, t)];
  });
}

/** A point through an affine (3 x 4). */
export function mapPoint(affine, [x, y, z]) {
  return affine.map((row) => row[0] * x + row[1] * y + row[2] * z + row[3]);
}

/** The volume on the grid of `grid`, 0 where it does not reach. `motion` maps millimetres of the grid to those of the
 * volume. `isMask`: take the nearest voxel, or else interpolate between eight. */
export function resample(volume, grid, motion, isMask) {
  const target = grid.emptyMask();
  const matrix = compose(invert(volume.affine), compose(motion, grid.affine));
  const sample = isMask ? nearest(volume) : linear(volume);
  const [[stepX], [stepY], [stepZ]] = matrix;
  let index = 0;
  for (let slice = 0; slice < grid.slices; slice++) {
    for (let row = 0; row < grid.rows; row++) {
      let [x, y, z] = mapPoint(matrix, [0, row, slice]);
      for (let column = 0; column < grid.columns; column++, x += stepX, y += stepY, z += stepZ) target.values[index++] = sample(x, y, z);
    }
  }
  return target;
}

function nearest({ columns, rows, slices, values }) {
  return (x, y, z) => {
    const [i, j, k] = [Math.round(x), Math.round(y), Math.round(z)];
    return i >= 0 && j >= 0 && k >= 0 && i < columns && j < rows && k < slices ? values[(k * rows + j) * columns + i] : 0;
  };
}

function linear({ columns, rows, slices, values }) {
  const plane = rows * columns;
  return (x, y, z) => {
    if (x < 0 || y < 0 || z < 0 || x > columns - 1 || y > rows - 1 || z > slices - 1) return 0;
    const [i, j, k] = [Math.min(Math.floor(x), columns - 2), Math.min(Math.floor(y), rows - 2), Math.min(Math.floor(z), slices - 2)];
    const [u, v, w] = [x - i, y - j, z - k];
    const at = (k * rows + j) * columns + i;
    const line = (from) => values[from] * (1 - u) + values[from + 1] * u;
    const face = (from) => line(from) * (1 - v) + line(from + columns) * v;
    return face(at) * (1 - w) + face(at + plane) * w;
  };
}

/** A copy of a mask's grid with the number of the lesion at each voxel. `numbered`: see `numberComponents`. */
export function labelMap(mask, numbered, valueOf) {
  const labels = mask.emptyMask();
  for (const [number, { runs }] of numbered) {
    for (const { slice, row, first, stop } of runs) {
      const offset = (slice * mask.rows + row) * mask.columns;
      labels.values.fill(valueOf(number), offset + first, offset + stop);
    }
  }
  return labels;
}
