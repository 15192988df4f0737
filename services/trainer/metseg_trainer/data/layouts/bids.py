"""BIDS: `sub-01/ses-01/anat/sub-01_ses-01_ce-gadolinium_T1w.nii.gz`, outlines below `derivatives/`.

Outlines are `_dseg` with a table of label names (`_dseg.tsv` next to it or `dseg.tsv` above it), or `_mask` with the
structure as its entity `label-` or `desc-`. Those of the brain are not used.
"""

import csv
import re
from collections.abc import Mapping
from pathlib import Path

from metseg.contracts import Role
from metseg_trainer.data.layouts.files import Cases, list_files
from metseg_trainer.data.layouts.structure_names import labels_from_names
from metseg_trainer.data.layouts.studies import FolderContents, ImageFiles, Label, StructureLabels, TruthFiles

__all__ = ["find_bids"]

FILE = re.compile(r"(?P<entities>sub-[A-Za-z0-9]+(?:_[a-z]+-[A-Za-z0-9+]+)*)_(?P<suffix>[A-Za-z0-9]+)\.nii(?:\.gz)?")
DERIVATIVES = "derivatives"
OF_THE_HEAD = ("brain", "head")
OPEN = "the meaning of its labels is open: add a _dseg.tsv with the columns index and name, or a labels.yaml"


def find_bids(folder: Path) -> FolderContents | None:
    """The sessions of a BIDS folder; None if no file is named as in BIDS."""
    cases, masks, maps = Cases(), dict[str, dict[str, Path]](), dict[str, Path]()
    for path in list_files(folder):
        if (match := FILE.fullmatch(path.name)) is None:
            continue
        entities = dict(each.split("-", 1) for each in match["entities"].split("_"))
        id = "_".join(f"{key}-{entities[key]}" for key in ("sub", "ses") if key in entities)
        name = entities.get("label") or entities.get("desc") or ""
        if DERIVATIVES in path.relative_to(folder).parts:
            if match["suffix"] == "dseg":
                maps.setdefault(id, path)
            elif match["suffix"] == "mask" and name.lower() not in OF_THE_HEAD:
                masks.setdefault(id, {})[name] = path
            continue
        cases[id].person = f"sub-{entities['sub']}"
        if (role := _role(match["suffix"], entities)) is not None:
            cases[id].add_image(role, ImageFiles((path,)), folder)
        else:
            cases[id].left_out.append(match["suffix"])
    labels = {}
    for id in {*cases, *masks, *maps}:
        cases[id].truth, labels[id] = _truth(folder, maps.get(id), masks.get(id, {}))
    return cases.contents("BIDS", labels)


def _role(suffix: str, entities: dict[str, str]) -> Role | None:
    """The sequence of an image; the entity `ce` means a contrast agent."""
    if suffix == "FLAIR":
        return "flair"
    if suffix == "T1w":
        return "post" if "ce" in entities else "pre"
    return None


def _truth(folder: Path, label_map: Path | None, masks: Mapping[str, Path]) -> tuple[list[TruthFiles], StructureLabels]:
    """The outlines of a session and their meaning: its label map, otherwise its masks."""
    if label_map is not None:
        table = next((table for table in _tables(label_map, folder) if table.is_file()), None)
        labels = StructureLabels(None, None, question=OPEN) if table is None else _labels(table)
        return [TruthFiles((label_map,))], labels
    named = {name: frozenset[Label]({name}) for name in masks}
    return [TruthFiles((path,), label=name) for name, path in masks.items()], labels_from_names(named)


def _tables(path: Path, folder: Path) -> list[Path]:
    """Possible places of the label names: next to the file, or in any folder above it."""
    adjacent = path.with_name(re.sub(r"\.nii(\.gz)?$", ".tsv", path.name))
    above = [parent / "dseg.tsv" for parent in path.parents if parent == folder or folder in parent.parents]
    return [adjacent, *above]


def _labels(table: Path) -> StructureLabels:
    with table.open(newline="") as file:
        rows = [
            row for row in csv.DictReader(file, delimiter="\t") if row.get("index", "").isdigit() and row.get("name")
        ]
    names: dict[str, frozenset[Label]] = {}
    for row in rows:
        names[row["name"]] = names.get(row["name"], frozenset()) | {int(row["index"])}
    return labels_from_names(names)
