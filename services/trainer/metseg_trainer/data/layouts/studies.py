"""The contents of a folder, before any pixel is read: studies of slices or of volumes, and what is left out."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from metseg.contracts import Role
from metseg.imaging import Spacing

__all__ = [
    "SLICE_MASK",
    "FolderContents",
    "ImageFiles",
    "Label",
    "Labels",
    "PatientFiles",
    "SliceFiles",
    "StructureLabels",
    "Subset",
    "TruthFiles",
    "VolumeFiles",
]

Subset = Literal["train", "test"]
Label = int | str
"""A number in a label map, or the name of a segment, a region of interest or a mask."""
Labels = frozenset[Label] | Literal["any"] | None
"""The labels of a structure; `any` is every label but 0, None if the structure is unknown."""


@dataclass(frozen=True)
class StructureLabels:
    """Which labels make up a structure. An unknown structure is not an empty one.

    Attributes:
        core: labels of the tumour core.
        whole: labels of core and FLAIR abnormality.
        ignored: labels known to be neither.
        only_with: pairs of a label and another that must also occur in a folder of this layout.
        others_ignored: labels in neither set are not of the tumour, like the organs of a radiotherapy plan.
        question: why the labels cannot be mapped without a labels.yaml; None if they can.
    """

    core: Labels
    whole: Labels
    ignored: frozenset[Label] = frozenset()
    only_with: tuple[tuple[Label, Label], ...] = ()
    others_ignored: bool = False
    question: str | None = None

    def unknown(self, found: Iterable[Label]) -> list[Label]:
        """The labels found that have no meaning here."""
        if self.others_ignored or "any" in (self.core, self.whole):
            return []
        known = {*(self.core or ()), *(self.whole or ()), *self.ignored}
        return sorted((label for label in found if label not in known), key=str)


SLICE_MASK = StructureLabels(core=None, whole="any")
"""Masks of the raster layouts outline the whole, like those of the public data."""


class SliceFiles(NamedTuple):
    """Image and mask of a slice; either may be missing."""

    image: Path | None
    mask: Path | None


@dataclass(frozen=True)
class PatientFiles:
    """The slices of one patient as found, by stem."""

    id: str
    subset: Subset | None
    slices: dict[str, SliceFiles]
    labels: StructureLabels = SLICE_MASK


@dataclass(frozen=True)
class ImageFiles:
    """One sequence of a study: a volume in one file, or its slices in several.

    Attributes:
        paths: of the files.
        channel: the volume's index in a 4D file; None in a 3D file.
    """

    paths: tuple[Path, ...]
    channel: int | None = None


@dataclass(frozen=True)
class TruthFiles:
    """Outlines of a study.

    Attributes:
        paths: of the files.
        format: a volume of labels, slices, a DICOM segmentation or a DICOM structure set.
        label: of every nonzero voxel; None if the values, segments or regions are the labels.
        reference: the files of the series on which a structure set was drawn.
    """

    paths: tuple[Path, ...]
    format: Literal["volume", "slices", "seg", "rtstruct"] = "volume"
    label: Label | None = None
    reference: tuple[Path, ...] = ()


@dataclass(frozen=True)
class VolumeFiles:
    """A study of volumes as found.

    Attributes:
        id: unique in the folder.
        person: whose study it is; all studies of a person stay on one side of a split.
        subset: the side given by the folders; None if they give none.
        images: by role; None for DICOM series, whose headers give the sequence.
        truth: all outlines.
        labels: what they mean.
        left_out: names of sequences and files of the study that are not used.
        spacing_mm: of formats that store none.
    """

    id: str
    person: str
    subset: Subset | None
    images: Mapping[Role | None, ImageFiles]
    truth: tuple[TruthFiles, ...]
    labels: StructureLabels
    left_out: tuple[str, ...] = ()
    spacing_mm: Spacing | None = None

    def paths(self) -> list[tuple[str, Path]]:
        """Every file that is read, with its kind."""
        images = [(role or "series", path) for role, files in self.images.items() for path in files.paths]
        return [*images, *(("truth", path) for files in self.truth for path in files.paths)]


@dataclass
class FolderContents:
    """What a folder holds, before any pixel is read.

    Attributes:
        layout: its title.
        slices: studies of slices.
        volumes: studies of volumes; a layout finds either kind.
        images_without_mask: left out, by name.
        masks_without_image: left out, by name.
        copies: slices that are in the folder more than once and count once.
        notes: sentences without full stop, for readers of the results.
    """

    layout: str
    slices: list[PatientFiles] = field(default_factory=list)
    volumes: list[VolumeFiles] = field(default_factory=list)
    images_without_mask: list[str] = field(default_factory=list)
    masks_without_image: list[str] = field(default_factory=list)
    copies: int = 0
    notes: list[str] = field(default_factory=list)
