"""BraTS: one NIfTI file for each sequence of a case, named after it, and one label map.

| years | files | labels |
| --- | --- | --- |
| 2023 to 2026 | `BraTS-MET-00001-000-t1n`, `-t1c`, `-t2f`, `-t2w`, `-seg` | 1 NETC, 2 SNFH, 3 ET, 4 resection cavity |
| 2023 to 2026, PED | `BraTS-PED-00001-000-...` | 1 ET, 2 NET, 3 cyst, 4 oedema |
| 2017 to 2021 | `BraTS2021_00000_t1`, `_t1ce`, `_flair`, `_t2`, `_seg` | 1 necrosis, 2 oedema, 4 ET |
| to 2016 | `VSD.Brain.XX.O.MR_T1c.5.mha`, `..OT..`; `T1c_*.nii.gz`, `OTMultiClass.nii.gz` | 3 NET as well |

A study of `BraTS-MET-00001-001` is the second one of the person `BraTS-MET-00001`.
"""

import re
from pathlib import Path
from typing import NamedTuple

from metseg.contracts import Role
from metseg_trainer.data.layouts.files import VOLUME_SUFFIX, Cases, list_files, subset_of
from metseg_trainer.data.layouts.studies import FolderContents, ImageFiles, StructureLabels, TruthFiles

__all__ = ["find_brats"]

SINCE_2023 = StructureLabels(
    core=frozenset({1, 3}), whole=frozenset({1, 2, 3}), ignored=frozenset({4}), only_with=((4, 3), (1, 3))
)
PAEDIATRIC = StructureLabels(core=frozenset({1, 2, 3}), whole=frozenset({1, 2, 3, 4}))
# In files with these names but with label 1 alone, 1 does not mean necrosis.
BEFORE_2023 = StructureLabels(
    core=frozenset({1, 3, 4}), whole=frozenset({1, 2, 3, 4}), only_with=((1, 2), (3, 2), (4, 2))
)
ROLES: dict[str, Role] = {
    **dict.fromkeys(("t1n", "t1"), "pre"),
    **dict.fromkeys(("t1c", "t1ce", "t1gd"), "post"),
    **dict.fromkeys(("t2f", "flair"), "flair"),
}
BY_CASE = re.compile(
    rf"(?P<case>.+)(?P<mark>[-_])(?P<what>t1n|t1c|t1ce|t1gd|t1|t2f|t2w|t2|flair|seg){VOLUME_SUFFIX}", re.IGNORECASE
)
BY_FOLDER = re.compile(rf"(?P<what>T1c|T1|T2|Flair|OT)(?:MultiClass)?(?:_[^.]*)?{VOLUME_SUFFIX}")
OF_VSD = re.compile(rf"VSD\.Brain.*?\.(?:O\.MR_(?P<what>T1c|T1|T2|Flair)|(?:X+\.)?OT)\b.*{VOLUME_SUFFIX}")
TIME_POINT = re.compile(r"(?P<person>BraTS-[A-Z-]+-\d+)-\d+")


class _Match(NamedTuple):
    case: str
    what: str
    since_2023: bool


def find_brats(folder: Path) -> FolderContents | None:
    """Cases of any BraTS challenge; None if no file is named as in these."""
    cases, labels = Cases(), dict[str, StructureLabels]()
    for path in list_files(folder):
        if (match := _match(folder, path)) is None:
            if re.search(f"{VOLUME_SUFFIX}$", path.name):
                cases.others.append(path.relative_to(folder).as_posix())
            continue
        case = cases[match.case]
        if (named := TIME_POINT.fullmatch(match.case.rpartition("/")[2])) is not None:
            case.person = named["person"]
        case.subset = subset_of(path.relative_to(folder).parts[:-1])
        if match.what in ("seg", "ot"):
            case.add_only_truth(TruthFiles((path,)), folder)
        elif match.what in ROLES:
            case.add_image(ROLES[match.what], ImageFiles((path,)), folder)
        else:
            case.left_out.append("T2")
        labels.setdefault(match.case, BEFORE_2023)
        if match.since_2023:
            labels[match.case] = PAEDIATRIC if "BraTS-PED" in match.case else SINCE_2023
    return cases.contents("BraTS", labels)


def _match(folder: Path, path: Path) -> _Match | None:
    """The case and the kind of a file."""
    parts = path.relative_to(folder).parts
    if (vsd := OF_VSD.fullmatch(path.name)) is not None:
        above = parts[:-2] or parts[:-1]
        return _Match("/".join(above), (vsd["what"] or "ot").lower(), since_2023=False)
    if len(parts) > 1 and (plain := BY_FOLDER.fullmatch(path.name)) is not None:
        return _Match(parts[-2], plain["what"].lower(), since_2023=False)
    if (named := BY_CASE.fullmatch(path.name)) is not None:
        what = named["what"].lower()
        return _Match(named["case"], what, what in ("t1n", "t2f") or named["case"].startswith("BraTS-"))
    return None
