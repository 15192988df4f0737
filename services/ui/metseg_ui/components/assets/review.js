// A reader's review of a result while it is being made; `metseg.contracts.review` describes what is stored.
import { STROKES } from "./brush.js";

const [ADDED, ERASED] = [1, 2];
const EMPTY = { thresholds: {}, corrections: {}, joined: [], lesions: [], may_be_used_for_training: false };

export class ReviewDraft {
  /** `stored` is the review in force, null without one. `lesions` are those of the result and the rejected ones, each with
   * its `key`, its `peak` and `contains(voxel)`; voxels are (slice, row, column). */
  constructor(stored, lesions) {
    this.stored = stored ?? EMPTY;
    this.lesions = lesions;
    this.changes = [];
    this.joined = [...this.stored.joined];
    this.mayTeach = this.stored.may_be_used_for_training;
    this.decisions = new Map();
    this.others = [];
    for (const decision of this.stored.lesions) {
      const lesion = lesions.find((each) => each.contains(decision.voxel));
      if (!lesion) this.others.push(decision);
      else if (!this.decisions.has(lesion.key)) this.decisions.set(lesion.key, decision);
    }
  }

  decisionOn({ key, isRejected }) {
    return this.decisions.get(key) ?? { decision: isRejected ? "reject" : "keep", target: null, label: null };
  }

  /** Decide something about a lesion: `decision`, `target` or `label`. */
  decide(lesion, change) {
    this.changes.push((draft) => draft.decide(draft.lesionAt(lesion.peak), change));
    this.decisions.set(lesion.key, { ...this.decisionOn(lesion), ...change, voxel: lesion.peak });
  }

  join(lesions) {
    this.changes.push((draft) => draft.join(lesions));
    this.joined.push(lesions.map(({ peak }) => peak));
  }

  /** Whether a lesion was joined from several. */
  isJoined(lesion) {
    return this.joined.some((group) => group.some((voxel) => lesion.contains(voxel)));
  }

  separate(lesion) {
    this.changes.push((draft) => draft.separate(draft.lesionAt(lesion.peak)));
    this.joined = this.joined.filter((group) => !group.some((voxel) => lesion.contains(voxel)));
  }

  setMayTeach(mayTeach) {
    this.changes.push((draft) => draft.setMayTeach(mayTeach));
    this.mayTeach = mayTeach;
  }

  /** The lesion at a voxel; where there is none, the place alone: a decision about it takes effect if one is there later. */
  lesionAt(voxel) {
    const place = { key: `at ${voxel}`, peak: voxel, contains: (other) => voxel.every((at, axis) => at === other[axis]) };
    return this.lesions.find((each) => each.contains(voxel)) ?? place;
  }

  /** Make the changes of another draft of the same scan again, on top of this one. */
  repeat(changes) {
    changes.forEach((change) => change(this));
  }

  /** The review with all changes. `strokes` is a mask with the values of STROKES, null without any; `thresholds` those
   * that were moved. */
  build(strokes, thresholds) {
    return {
      thresholds: { ...this.stored.thresholds, ...thresholds },
      corrections: strokes ? mergeCorrections(this.stored.corrections, strokes) : this.stored.corrections,
      joined: this.joined,
      lesions: [...this.decisions.values(), ...this.others],
      may_be_used_for_training: this.mayTeach,
    };
  }
}

/** Stored corrections of both structures with strokes on top; the core stays within the whole. */
export function mergeCorrections({ core, whole }, strokes) {
  const marks = { core: toMarks(core, strokes.length), whole: toMarks(whole, strokes.length) };
  strokes.forEach((value, voxel) => {
    if (value === STROKES.core.brush) {
      marks.core[voxel] = ADDED;
      if (marks.whole[voxel] === ERASED) marks.whole[voxel] = 0;
    } else if (value === STROKES.core.eraser) marks.core[voxel] = ERASED;
    else if (value === STROKES.whole.brush) marks.whole[voxel] = ADDED;
    else if (value === STROKES.whole.eraser) {
      marks.whole[voxel] = ERASED;
      if (marks.core[voxel] === ADDED) marks.core[voxel] = 0;
    }
  });
  const corrections = Object.entries(marks).map(([structure, each]) => [structure, { added: toRuns(each, ADDED), erased: toRuns(each, ERASED) }]);
  return Object.fromEntries(corrections.filter(([, { added, erased }]) => added.length || erased.length));
}

function toMarks(correction, size) {
  const marks = new Uint8Array(size);
  for (const [name, value] of [["added", ADDED], ["erased", ERASED]]) {
    const runs = correction?.[name] ?? [];
    for (let at = 0; at < runs.length; at += 2) marks.fill(value, runs[at], runs[at] + runs[at + 1]);
  }
  return marks;
}

/** The voxels with a value as runs: first voxel, length, first voxel, length, ... */
function toRuns(marks, value) {
  const runs = [];
  for (let first = marks.indexOf(value); first >= 0; first = marks.indexOf(value, first)) {
    const begin = first;
    while (marks[first] === value) first++;
    runs.push(begin, first - begin);
  }
  return runs;
}
