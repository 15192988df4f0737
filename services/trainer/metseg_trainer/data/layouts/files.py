"""Listing a folder, and the parts that layouts of volumes share."""

import os
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from metseg.contracts import Role
from metseg.errors import DatasetError
from metseg.imaging import Spacing
from metseg_trainer.data.layouts.studies import (
    FolderContents,
    ImageFiles,
    StructureLabels,
    Subset,
    TruthFiles,
    VolumeFiles,
)

__all__ = ["SUBSETS", "VOLUME_SUFFIX", "VOLUME_SUFFIXES", "Case", "Cases", "list_files", "subset_of"]

VOLUME_SUFFIXES = (".nii.gz", ".nii", ".mha")
"""The suffixes of volume files."""
VOLUME_SUFFIX = rf"(?:{'|'.join(map(re.escape, VOLUME_SUFFIXES))})"
"""One of them, as a regular expression."""
# The validation side is always drawn from the training patients, so that both networks stop by the same rule.
SUBSETS: dict[str, Subset] = {
    "train": "train",
    "training": "train",
    "val": "train",
    "validation": "train",
    "test": "test",
    "testing": "test",
}


def list_files(folder: Path) -> list[Path]:
    """Every file below a folder that is not hidden, in an order that does not depend on the file system.

    Raises:
        DatasetError: the folder cannot be listed.
    """
    try:
        return sorted(_walk(folder))
    except OSError as error:
        raise DatasetError(f"The folder {folder} cannot be listed ({error.strerror}); mount a readable one.") from error


def _walk(folder: Path) -> Iterator[Path]:
    def fail(error: OSError) -> None:
        raise error

    for top, names, files in os.walk(folder, onerror=fail):
        names[:] = [name for name in names if not name.startswith((".", "__MACOSX"))]
        yield from (Path(top, name) for name in files if not name.startswith("."))


def subset_of(folders: tuple[str, ...]) -> Subset | None:
    """The side in the last word of a folder's name, such as UCSF_BrainMetastases_TEST."""
    for name in folders:
        words = re.findall(r"[a-z]+", name.lower())
        if words and words[-1] == "test":
            return "test"
    return None


@dataclass
class Case:
    """The files of one study while they are collected."""

    person: str
    subset: Subset | None = None
    images: dict[Role | None, ImageFiles] = field(default_factory=dict)
    truth: list[TruthFiles] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    spacing_mm: Spacing | None = None

    def add_image(self, role: Role, files: ImageFiles, root: Path) -> None:
        """Add a sequence; a second one of the same role is left out by name.

        Args:
            role: the sequence's.
            files: of the sequence.
            root: of the data, to which names are relative.
        """
        if role in self.images:
            self.left_out.append(f"another {role} sequence ({files.paths[0].relative_to(root).as_posix()})")
        else:
            self.images[role] = files

    def add_only_truth(self, files: TruthFiles, root: Path) -> None:
        """Add the outlines of a layout that has one file of them; a second one is left out by name.

        Args:
            files: of the outlines.
            root: of the data, to which names are relative.
        """
        if self.truth:
            self.left_out.append(f"another mask ({files.paths[0].relative_to(root).as_posix()})")
        else:
            self.truth.append(files)


class Cases(defaultdict[str, Case]):
    """Cases by id, created on first access.

    Attributes:
        others: names of files that belong to no case.
    """

    def __init__(self) -> None:
        super().__init__()
        self.others: list[str] = []

    def __missing__(self, id: str) -> Case:
        """A case whose person is the case itself."""
        self[id] = Case(person=id)
        return self[id]

    def contents(self, layout: str, labels: StructureLabels | Mapping[str, StructureLabels]) -> FolderContents | None:
        """The studies that have images and truth; None if there are none.

        Args:
            layout: its title.
            labels: of all cases, or by case.

        Returns:
            The contents; cases that lack one half are named.
        """
        found = FolderContents(layout)
        for id, case in sorted(self.items()):
            if case.images and case.truth:
                meaning = labels if isinstance(labels, StructureLabels) else labels[id]
                truth, left_out = tuple(case.truth), tuple(case.left_out)
                found.volumes.append(
                    VolumeFiles(
                        id, case.person, case.subset, case.images, truth, meaning, left_out, spacing_mm=case.spacing_mm
                    )
                )
            elif case.images:
                found.images_without_mask.append(id)
            elif case.truth:
                found.masks_without_image.append(id)
        if self.others:
            found.notes.append(f"{len(self.others)} other files are not used, the first is {self.others[0]}")
        return found if found.volumes or found.images_without_mask or found.masks_without_image else None
