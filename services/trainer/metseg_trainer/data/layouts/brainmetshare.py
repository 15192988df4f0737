"""Stanford BrainMetShare: a folder of PNG slices for each sequence of a study, and `seg`, the enhancing metastases.

    Mets_005/0/  T1 gradient-echo after contrast, also `bravo`
    Mets_005/1/  T1 spin-echo before contrast, also `t1_pre`
    Mets_005/2/  T1 spin-echo after contrast, also `t1_gd`
    Mets_005/3/  T2 FLAIR, also `flair`
    Mets_005/seg/

Only the core is known. Of the two post-contrast series the gradient-echo one is used: the outlines were drawn on it.
"""

from collections import defaultdict
from pathlib import Path

from metseg.contracts import Role
from metseg.formats import natural_key
from metseg_trainer.data.layouts.files import Cases, list_files, subset_of
from metseg_trainer.data.layouts.studies import FolderContents, ImageFiles, StructureLabels, TruthFiles

__all__ = ["find_brainmetshare"]

SEQUENCES: dict[str, Role | str] = {
    "0": "post", "bravo": "post", "1": "pre", "t1_pre": "pre", "2": "spin-echo T1 after contrast",
    "t1_gd": "spin-echo T1 after contrast", "3": "flair", "flair": "flair",
}  # fmt: skip
MASKS = "seg"
SPACING_MM = (1.0, 0.94, 0.94)
"""Between slices, rows and columns, as published; PNG stores none."""
ENHANCING = StructureLabels(core="any", whole=None)


def find_brainmetshare(folder: Path) -> FolderContents | None:
    """The studies of BrainMetShare; None if no folder of slices has a folder `seg` and a sequence next to it."""
    series: dict[Path, dict[str, list[Path]]] = defaultdict(lambda: defaultdict(list))
    for path in list_files(folder):
        if path.suffix.lower() == ".png" and path.parent.name in {*SEQUENCES, MASKS} and path.parent != folder:
            series[path.parent.parent][path.parent.name].append(path)
    if not any(MASKS in found and len(found) > 1 for found in series.values()):
        return None
    cases = Cases()
    for parent, found in series.items():
        case = cases[parent.relative_to(folder).as_posix()]
        case.subset, case.spacing_mm = subset_of(parent.relative_to(folder).parts), SPACING_MM
        for name, paths in found.items():
            paths.sort(key=lambda path: natural_key(path.name))
            what = SEQUENCES.get(name, "")
            if name == MASKS:
                case.truth.append(TruthFiles(tuple(paths), "slices"))
            elif what in ("pre", "flair", "post"):
                case.images[what] = ImageFiles(tuple(paths))  # type: ignore[index]
            else:
                case.left_out.append(what)
    return cases.contents("Stanford BrainMetShare", ENHANCING)
