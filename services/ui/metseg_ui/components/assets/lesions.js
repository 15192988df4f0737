// The lesions of a mask: its connected components, as the worker finds them, and where each lies in a slice.

/** The 26-connected components of the voxels that are at least `threshold`, in the order of their first voxel. Those
 * of fewer than `minVoxels` voxels are left out. Each has its number of voxels, its bounding box as half-open `first`
 * and `stop` (slice, row, column), and its `runs`: stretches of voxels in one row. */
export function connectedComponents({ columns, rows, slices, values }, threshold, minVoxels = 0) {
  const { runs, starts } = findRuns({ columns, lines: slices * rows, values }, threshold);
  const parents = Int32Array.from(runs, (_, index) => index);
  const root = (index) => {
    while (parents[index] !== index) index = parents[index] = parents[parents[index]];
    return index;
  };
  for (let line = 0; line < slices * rows; line++) {
    if (starts[line] === starts[line + 1]) continue;
    const row = line % rows;
    const before = [];
    if (row > 0) before.push(line - 1);
    if (line >= rows) before.push(...[row > 0 && line - rows - 1, line - rows, row < rows - 1 && line - rows + 1].filter((each) => each !== false));
    for (const other of before) {
      joinTouching(runs, [starts[line], starts[line + 1]], [starts[other], starts[other + 1]], (a, b) => {
        const [low, high] = [root(a), root(b)].sort((x, y) => x - y);
        parents[high] = low;
      });
    }
  }
  const found = new Map();
  runs.forEach(({ line, first, stop }, index) => {
    const key = root(index);
    if (!found.has(key)) found.set(key, { voxels: 0, first: [Infinity, Infinity, Infinity], stop: [0, 0, 0], runs: [] });
    const component = found.get(key);
    const run = { slice: Math.floor(line / rows), row: line % rows, first, stop };
    component.voxels += stop - first;
    component.runs.push(run);
    [run.slice, run.row, first].forEach((value, axis) => (component.first[axis] = Math.min(component.first[axis], value)));
    [run.slice + 1, run.row + 1, stop].forEach((value, axis) => (component.stop[axis] = Math.max(component.stop[axis], value)));
  });
  return [...found.values()].filter(({ voxels }) => voxels >= minVoxels);
}

/** The stretches of voxels at least `threshold`, line by line, and the index of the first of each line. */
function findRuns({ columns, lines, values }, threshold) {
  const runs = [];
  const starts = new Int32Array(lines + 1);
  for (let line = 0; line < lines; line++) {
    starts[line] = runs.length;
    const offset = line * columns;
    for (let column = 0; column < columns; column++) {
      if (values[offset + column] < threshold) continue;
      const first = column;
      while (column < columns && values[offset + column] >= threshold) column++;
      runs.push({ line, first, stop: column });
    }
  }
  starts[lines] = runs.length;
  return { runs, starts };
}

/** Call `join` for each pair of runs of two neighbouring lines that touch, also over a corner. */
function joinTouching(runs, [begin, end], [otherBegin, otherEnd], join) {
  let other = otherBegin;
  for (let index = begin; index < end; index++) {
    while (other < otherEnd && runs[other].stop < runs[index].first) other++;
    for (let each = other; each < otherEnd && runs[each].first <= runs[index].stop; each++) join(index, each);
  }
}

/** Set `mask` to `valueOf(component)` in each component, to 0 elsewhere. */
export function fillMask({ columns, rows, values }, components, valueOf) {
  values.fill(0);
  for (const component of components) {
    const value = valueOf(component);
    for (const { slice, row, first, stop } of component.runs) {
      const offset = (slice * rows + row) * columns;
      values.fill(value, offset + first, offset + stop);
    }
  }
}

/** The components by the number of the lesion that each of them is: the one with the lesion's `peak`, and those that are
 * joined with it. `joined` are groups of voxels (slice, row, column). A lesion has the `runs` of all its `parts`. */
export function numberComponents(components, lesions, joined) {
  const at = (voxel) => components.find((component) => containsVoxel(component, voxel));
  const groups = joined.map((group) => new Set(group.map(at)));
  return new Map(
    lesions.flatMap(({ number, peak }) => {
      const parts = new Set([at(peak)]);
      for (let size = 0; size < parts.size; ) {
        size = parts.size;
        for (const group of groups) if ([...group].some((part) => part && parts.has(part))) group.forEach((part) => parts.add(part));
      }
      parts.delete(undefined);
      return parts.size ? [[number, { runs: [...parts].flatMap(({ runs }) => runs), parts: [...parts] }]] : [];
    }),
  );
}

/** Whether a component contains a voxel (slice, row, column). */
export function containsVoxel(component, [slice, row, column]) {
  return Boolean(component?.runs.some((run) => run.slice === slice && run.row === row && run.first <= column && column < run.stop));
}

/** The voxel (column, row, slice) of a component that is nearest to the middle of its part in a slice. */
export function middleVoxel(component, slice) {
  const voxels = voxelsInSlice(component, slice);
  const [column, row] = [0, 1].map((axis) => voxels.reduce((sum, voxel) => sum + voxel[axis], 0) / voxels.length);
  const distance = (voxel) => (voxel[0] - column) ** 2 + (voxel[1] - row) ** 2;
  return [...voxels.reduce((best, voxel) => (distance(voxel) < distance(best) ? voxel : best)), slice];
}

/** The voxels (column, row, slice) of a component in a slice that lie farthest along the four diagonals. */
export function diagonalVoxels(component, slice) {
  const voxels = voxelsInSlice(component, slice);
  return [[1, 1], [1, -1], [-1, 1], [-1, -1]].map(([x, y]) => {
    const along = (voxel) => x * voxel[0] + y * voxel[1];
    return [...voxels.reduce((best, voxel) => (along(voxel) > along(best) ? voxel : best)), slice];
  });
}

function voxelsInSlice({ runs }, slice) {
  return runs
    .filter((run) => run.slice === slice)
    .flatMap(({ row, first, stop }) => Array.from({ length: stop - first }, (_, index) => [first + index, row]));
}

/** The number of voxels of the components in a slice. */
export function countVoxels(components, slice) {
  let count = 0;
  for (const { runs } of components) for (const run of runs) if (run.slice === slice) count += run.stop - run.first;
  return count;
}
