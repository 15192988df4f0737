"""UCSF-BMSR, brain metastases before radiosurgery: `100101A/100101A_T1post.nii.gz` and so on.

`_BraTS-seg` has the labels of BraTS-METS. Studies without it have only `_seg`, the enhancing metastases, so that only
the core is known. The letter after a study's number counts the studies of a person.
"""

import re
from pathlib import Path

from metseg.contracts import Role
from metseg_trainer.data.layouts.files import VOLUME_SUFFIX, Cases, list_files, subset_of
from metseg_trainer.data.layouts.studies import FolderContents, ImageFiles, StructureLabels, TruthFiles

__all__ = ["find_ucsf"]

FILE = re.compile(
    rf"(?P<case>(?P<person>\d{{6}})[A-Z])_(?P<what>T1pre|T1post|FLAIR|T2Synth|subtraction|BraTS-seg|seg){VOLUME_SUFFIX}",
    re.IGNORECASE,
)
ROLES: dict[str, Role] = {"t1pre": "pre", "t1post": "post", "flair": "flair"}
WITH_OEDEMA = StructureLabels(
    core=frozenset({1, 3}), whole=frozenset({1, 2, 3}), ignored=frozenset({4}), only_with=((4, 3),)
)
ENHANCING = StructureLabels(core="any", whole=None)


def find_ucsf(folder: Path) -> FolderContents | None:
    """The studies of UCSF-BMSR; None if no file is named as in it."""
    cases, masks = Cases(), dict[str, dict[str, Path]]()
    for path in list_files(folder):
        if (match := FILE.fullmatch(path.name)) is None:
            continue
        case, what = cases[match["case"]], match["what"].lower()
        case.person, case.subset = match["person"], subset_of(path.relative_to(folder).parts[:-1])
        if what in ROLES:
            case.add_image(ROLES[what], ImageFiles((path,)), folder)
        elif what in ("seg", "brats-seg"):
            masks.setdefault(match["case"], {})[what] = path
        else:
            case.left_out.append(match["what"])
    labels = dict.fromkeys(cases, ENHANCING)
    for id, found in masks.items():
        chosen = "brats-seg" if "brats-seg" in found else "seg"
        cases[id].truth.append(TruthFiles((found[chosen],)))
        if chosen == "brats-seg":
            labels[id] = WITH_OEDEMA
    return cases.contents("UCSF-BMSR", labels)
