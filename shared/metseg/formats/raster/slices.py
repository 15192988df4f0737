"""A study of slices: PNG, JPEG, TIFF, a ZIP of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from metseg.contracts import Align, Role
from metseg.formats.raster.decoders import Pixels
from metseg.formats.raster.series import Series, gather
from metseg.formats.sequences import GREY, STAND_INS, stand_in
from metseg.formats.study import Upload
from metseg.imaging import CHANNELS, ROLES, SEQUENCE_NAMES, Volume
from metseg.settings import Limits

__all__ = ["Slices", "study"]


@dataclass(frozen=True)
class Slices:
    """Series by role, or the only one by None."""

    series: Mapping[Role | None, Series]

    @property
    def source(self) -> str:
        """As of `Volume`."""
        return "+".join(sorted({kind for series in self.series.values() for kind in series.source.split("+")}))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Slices, rows and columns."""
        return self.series[_base(self.series)].shape

    def read(self, align: Align, threads: int) -> Volume:
        """The pixels.

        Raises:
            UnreadableImage: a file is damaged.
        """
        series = self.series
        pixels, warnings = (
            _one_series(series[None]) if None in series else _by_role(cast(Mapping[Role, Series], series))
        )
        return Volume(
            pixels,
            series[_base(series)].names,
            source=self.source,
            warnings=(*warnings, *_remarks(series)),
        )


def study(uploads: Sequence[Upload], limits: Limits) -> Slices:
    """The study, by its headers.

    Raises:
        BadInput: one of its kinds, whichever fits.
    """
    return Slices(gather(uploads, limits))


def _base(study: Mapping[Role | None, Series]) -> Role | None:
    """The series that names the slices and stands in for missing ones."""
    return next(role for role in (None, *STAND_INS) if role in study)


def _one_series(series: Series) -> tuple[Pixels, list[str]]:
    """The pixels of a study without roles: grey or one picture a channel."""
    pixels = np.empty((*series.shape, len(CHANNELS)), series.depth)
    for target, page in zip(pixels, series.decode(), strict=True):
        target[...] = page if page.ndim == 3 else page[..., np.newaxis]
    return pixels, [GREY] if all(map(_is_grey, pixels)) else []


def _is_grey(page: Pixels) -> bool:
    """Whether the channels of (row, column, channel) are alike."""
    return all(np.array_equal(page[..., 0], page[..., channel]) for channel in (1, 2))


def _by_role(study: Mapping[Role, Series]) -> tuple[Pixels, list[str]]:
    """The pixels of a study with one series a channel."""
    base = next(role for role in STAND_INS if role in study)
    depth = np.result_type(*(series.depth for series in study.values()))
    pixels = np.empty((*study[base].shape, len(CHANNELS)), depth)
    warnings = []
    for channel, role in enumerate(ROLES):
        if role not in study:
            warnings.append(stand_in(role, base))
            continue
        coloured = False
        for target, page in zip(pixels, study[role].decode(), strict=True):
            target[..., channel], in_colour = _grey(page)
            coloured |= in_colour
        if coloured:
            warnings.append(f"The {SEQUENCE_NAMES[role]} series is in colour; the mean of its colours was used.")
    for channel, role in enumerate(ROLES):
        if role not in study:
            pixels[..., channel] = pixels[..., ROLES.index(base)]
    return pixels, warnings


def _grey(page: Pixels) -> tuple[Pixels, bool]:
    """The page without colour, and whether it had some."""
    if page.ndim == 2:
        return page, False
    if (page == page[..., :1]).all():
        return page[..., 0], False
    mean = page.mean(axis=-1, dtype=np.float64)
    return (mean if page.dtype.kind == "f" else np.rint(mean)).astype(page.dtype), True


def _remarks(study: Mapping[Role | None, Series]) -> list[str]:
    """What was done to the upload as a whole."""
    remarks = []
    masks = sum(series.masks for series in study.values())
    if masks:
        remarks.append(f"Mask files that lie beside their images were left out: {masks}.")
    if any(page.orientation != 1 for series in study.values() for page in series.pages):
        remarks.append("Pictures were turned as their orientation tag tells; the mask fits them as displayed.")
    return remarks
