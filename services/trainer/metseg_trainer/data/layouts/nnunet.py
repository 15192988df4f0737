"""nnU-Net raw data and the Medical Segmentation Decathlon: a dataset.json with the names of channels and labels.

nnU-Net has a file for each channel, `imagesTr/case_0000.nii.gz`; the decathlon has one 4D file, `imagesTr/case.nii.gz`.
Both have `labelsTr/case.nii.gz`. A test side counts only if it has labels too (`imagesTs`, `labelsTs`).
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metseg.errors import DatasetError
from metseg.formats import role_from_name
from metseg_trainer.data.layouts.files import VOLUME_SUFFIX, Case, Cases, list_files
from metseg_trainer.data.layouts.structure_names import labels_from_names
from metseg_trainer.data.layouts.studies import FolderContents, ImageFiles, Label, StructureLabels, TruthFiles

__all__ = ["find_nnunet"]

DESCRIPTION = "dataset.json"
CHANNEL_FILE = re.compile(rf"(?P<case>.+)_(?P<channel>\d{{4}}){VOLUME_SUFFIX}")
VOLUME_FILE = re.compile(rf"(?P<case>.+?){VOLUME_SUFFIX}")


@dataclass(frozen=True)
class _Dataset:
    """The content of a dataset.json.

    Attributes:
        root: its folder.
        prefix: of its cases' ids, if the data have several dataset.json.
        channels: names by number.
        labels: their meaning.
    """

    root: Path
    prefix: str
    channels: Mapping[int, str]
    labels: StructureLabels

    def take(self, cases: Cases, file: Path) -> None:
        """Add a file to its case, if it has one."""
        if file.parent.parent != self.root or (match := VOLUME_FILE.fullmatch(file.name)) is None:
            return
        kind, side = file.parent.name[:-2], file.parent.name[-2:]
        if side not in ("Tr", "Ts"):
            return
        if kind == "labels":
            case = cases[self.prefix + match["case"]]
            case.add_only_truth(TruthFiles((file,)), self.root)
            case.subset = "test" if side == "Ts" else None
        elif kind == "images":
            one = CHANNEL_FILE.fullmatch(file.name)
            if one is not None and not (self.root / f"labels{side}" / file.name).exists():
                self._add(cases[self.prefix + one["case"]], file, (int(one["channel"]),))
            else:
                self._add(cases[self.prefix + match["case"]], file, tuple(self.channels))

    def _add(self, case: Case, file: Path, channels: tuple[int, ...]) -> None:
        """Add the channels of a file that are one of our sequences; the others are left out by name."""
        for channel in channels:
            name = self.channels.get(channel, f"channel {channel}")
            role = role_from_name(name)
            if role is None:
                case.left_out.append(name)
            else:
                case.add_image(role, ImageFiles((file,), channel if len(channels) > 1 else None), self.root)


def find_nnunet(folder: Path) -> FolderContents | None:
    """The cases of every dataset.json below a folder; None if none has images next to it."""
    files = list_files(folder)
    cases, labels = Cases(), dict[str, StructureLabels]()
    for path in (path for path in files if path.name == DESCRIPTION):
        if not (path.parent / "imagesTr").is_dir():
            continue
        dataset = _read(path, folder)
        before = {*cases}
        for file in files:
            dataset.take(cases, file)
        labels |= dict.fromkeys(cases.keys() - before, dataset.labels)
    return cases.contents("nnU-Net or Medical Segmentation Decathlon", labels)


def _read(path: Path, folder: Path) -> _Dataset:
    """Channels and labels of a dataset.json of either version of nnU-Net.

    Args:
        path: of the file.
        folder: of the whole data set.

    Raises:
        DatasetError: it is not JSON, or lacks them.
    """
    try:
        content: dict[str, Any] = json.loads(path.read_bytes())
        stored = content.get("channel_names") or content["modality"]
        channels = {int(number): str(name) for number, name in stored.items()}
        labels = _labels(content["labels"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DatasetError(f"{path} is not a dataset.json with channel_names (or modality) and labels.") from error
    if not any(role_from_name(name) for name in channels.values()):
        raise DatasetError(
            f"{path} names the channels {', '.join(channels.values())}, none of which is a sequence that metseg knows; "
            "name them T1, T1ce and FLAIR in its channel_names."
        )
    root = path.parent
    prefix = "" if root == folder else f"{root.relative_to(folder).as_posix()}/"
    return _Dataset(root, prefix, channels, labels)


def _labels(stored: dict[str, Any]) -> StructureLabels:
    """Labels by number, as in version 1 and the decathlon, or by name, as in version 2; regions may have several."""
    names: dict[str, frozenset[Label]] = {}
    for key, value in stored.items():
        if key.isdigit():
            names[str(value)] = names.get(str(value), frozenset()) | {int(key)}
        else:
            names[key] = frozenset(map(int, value)) if isinstance(value, list) else frozenset({int(value)})
    return labels_from_names(names)
