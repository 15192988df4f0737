"""A study of slices: PNG, JPEG, TIFF, a ZIP of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from metseg.contracts import Align, IdentifiedSequence, Role
from metseg.formats.raster.series import RasterSeries, group_series
from metseg.formats.roles import role_of_slices
from metseg.formats.sequences import (
    GREY_WARNING,
    REFERENCE_ORDER,
    UNUSED_CHOICE,
    missing_sequence_warning,
    reference_role,
)
from metseg.formats.study import UNKNOWN_SUBJECT, Subject, Upload
from metseg.imaging import CHANNELS, ROLES, SEQUENCE_NAMES, Array, StudySize, Volume, present_sequences
from metseg.settings import Limits

__all__ = ["RasterStudyReader", "open_study"]

COLOUR_JPEG_WARNING = (
    "The slices are JPEGs in colour. JPEG stores colours coarsely, so the sequences mix and small tumour cores get "
    "lost; send PNG, TIFF, DICOM or volumes."
)


@dataclass(frozen=True)
class RasterStudyReader:
    """Reads series by role, or a single one by None, which is of the sequence `stated` if it is grey."""

    series: Mapping[Role | None, RasterSeries]
    stated: Role | None = None
    subject: Subject = UNKNOWN_SUBJECT

    @property
    def source(self) -> str:
        """As in `Volume`."""
        return "+".join(sorted({kind for series in self.series.values() for kind in series.source.split("+")}))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Slices, rows and columns."""
        return self._reference.shape

    @property
    def size(self) -> StudySize:
        """What decides how much memory the study takes."""
        itemsize = max(np.dtype(series.dtype).itemsize for series in self.series.values())
        return StudySize(self.shape, itemsize, decoded=0, channels=len(CHANNELS), spacing_mm=None)

    def read_volume(self, align: Align, threads: int) -> Volume:
        """Read the pixels.

        Args:
            align: not used, since slices have no position.
            threads: not used.

        Returns:
            The study.

        Raises:
            UnreadableImage: a file is damaged.
        """
        if None in self.series:
            pixels, warnings, identified = self._read_single_series(self.series[None])
        else:
            series = cast(Mapping[Role, RasterSeries], self.series)
            pixels, warnings = _read_by_role(series)
            warnings += [] if self.stated is None else [UNUSED_CHOICE]
            identified = {role: IdentifiedSequence(by=one.identified_by) for role, one in series.items()}
        pre, flair, post = (role in identified for role in ROLES)
        is_colour = None in self.series and len(identified) > 1
        return Volume(
            pixels,
            self._reference.names,
            source=self.source,
            present=present_sequences(pixels) if is_colour else (pre, flair or not identified, post),
            identified=identified,
            warnings=tuple(dict.fromkeys([*warnings, *_study_warnings(self.series)])),
        )

    def _read_single_series(self, series: RasterSeries) -> tuple[Array, list[str], Mapping[Role, IdentifiedSequence]]:
        """The pixels of a study without roles, warnings, and what decided which sequence they are."""
        pixels = np.empty((*series.shape, len(CHANNELS)), series.dtype)
        for target, page in zip(pixels, series.decode(), strict=True):
            target[...] = page if page.ndim == 3 else page[..., np.newaxis]
        if not all(map(_is_grey, pixels)):
            warnings = [] if self.stated is None else [UNUSED_CHOICE]
            if any(file.kind == "jpeg" for file in series.files):
                warnings.append(COLOUR_JPEG_WARNING)
            return pixels, warnings, dict.fromkeys(ROLES, IdentifiedSequence(by="place"))
        if self.stated is not None:
            return pixels, [GREY_WARNING], {self.stated: IdentifiedSequence(by="stated")}
        named = role_of_slices([file.name for file in series.files])
        return pixels, [GREY_WARNING], {} if named is None else {named: IdentifiedSequence(by="name")}

    @property
    def _reference(self) -> RasterSeries:
        """The series that names the slices and is copied for missing ones."""
        return self.series[reference_role(list(self.series))]


def open_study(uploads: Sequence[Upload], limits: Limits, stated: Role | None = None) -> RasterStudyReader:
    """Open a study of slices by its headers.

    Args:
        uploads: of the study.
        limits: of one submission.
        stated: the sequence of grey slices, according to their submitter; overrules their names.

    Returns:
        Its reader.

    Raises:
        BadInput: one of its subclasses.
    """
    return RasterStudyReader(group_series(uploads, limits, stated), stated)


def _is_grey(page: Array) -> bool:
    """Whether the channels of (row, column, channel) are equal."""
    return all(np.array_equal(page[..., 0], page[..., channel]) for channel in (1, 2))


def _read_by_role(study: Mapping[Role, RasterSeries]) -> tuple[Array, list[str]]:
    """The pixels of a study with one series per channel."""
    base = next(role for role in REFERENCE_ORDER if role in study)
    dtype = np.result_type(*(series.dtype for series in study.values()))
    pixels = np.empty((*study[base].shape, len(CHANNELS)), dtype)
    warnings = []
    for channel, role in enumerate(ROLES):
        if role not in study:
            warnings.append(missing_sequence_warning(role))
            continue
        in_colour = False
        for target, page in zip(pixels, study[role].decode(), strict=True):
            target[..., channel], page_in_colour = _to_grey(page)
            in_colour |= page_in_colour
        if in_colour:
            warnings.append(f"The {SEQUENCE_NAMES[role]} series is in colour; the mean of its colours was used.")
    for channel, role in enumerate(ROLES):
        if role not in study:
            pixels[..., channel] = pixels[..., ROLES.index(base)]
    return pixels, warnings


def _to_grey(page: Array) -> tuple[Array, bool]:
    """The page in grey, and whether it was in colour."""
    if page.ndim == 2:
        return page, False
    if (page == page[..., :1]).all():
        return page[..., 0], False
    mean = page.mean(axis=-1, dtype=np.float64)
    return (mean if page.dtype.kind == "f" else np.rint(mean)).astype(page.dtype), True


def _study_warnings(study: Mapping[Role | None, RasterSeries]) -> list[str]:
    """Warnings for the upload as a whole."""
    warnings = [warning for series in study.values() for warning in series.warnings]
    masks = sum(series.excluded_masks for series in study.values())
    if masks:
        warnings.append(f"Masks of uploaded images were left out: {masks}.")
    if any(page.orientation != 1 for series in study.values() for page in series.pages):
        warnings.append("Images were rotated by their orientation tag; the mask fits them as displayed.")
    return warnings
