"""Bytes <-> Volume and mask.

What comes in is told by its content, never by its name, and is taken for hostile: `inspect` reads headers
only, and both functions raise nothing but `BadInput`, whatever the bytes are.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, cast

import numpy as np

from metseg.contracts import Role
from metseg.formats.artefacts import (
    MEDIA_TYPES,
    ArtefactFormat,
    read_mask,
    read_probability,
    write_mask,
    write_probability,
)
from metseg.formats.names import natural_key
from metseg.formats.pixels import Pixels
from metseg.formats.series import Series, Upload, gather
from metseg.settings import Limits
from metseg.volume import CHANNELS, Volume

__all__ = [
    "MEDIA_TYPES",
    "ArtefactFormat",
    "Inspection",
    "Upload",
    "inspect",
    "natural_key",
    "read",
    "read_mask",
    "read_probability",
    "write_mask",
    "write_probability",
]

ROLES: dict[Role, str] = dict(zip(("pre", "flair", "post"), CHANNELS, strict=True))
STAND_INS: tuple[Role, ...] = ("flair", "post", "pre")


class Inspection(NamedTuple):
    """What the headers of an upload tell.

    Attributes:
        source: as of `Volume`.
        slices: of the study, masks left out.
        rows: of each slice.
        columns: of each slice.
    """

    source: str
    slices: int
    rows: int
    columns: int


def inspect(uploads: Sequence[Upload], limits: Limits) -> Inspection:
    """Refuse a study that cannot be read, by its headers alone; no pixel is decoded.

    Memory stays small: an archive's members are unpacked one by one, large ones into a temporary file.

    Raises:
        BadInput: one of its kinds, whichever fits.
    """
    study = gather(uploads, limits)
    return Inspection(_source(study), *study[_base(study)].shape)


def read(uploads: Sequence[Upload], limits: Limits) -> Volume:
    """Read one study.

    Several files, one ZIP or one TIFF of several pages are the slices of one volume, in the natural order of
    the numbers in their names. A grey study is copied to the three channels. Uploads with roles are one series
    a channel; a missing one is filled with a copy of the FLAIR series, or of the post-contrast one.

    Raises:
        BadInput: one of its kinds, whichever fits; all that `inspect` raises, and damage found in the pixels.
    """
    study = gather(uploads, limits)
    pixels, warnings = _one_series(study[None]) if None in study else _by_role(cast(Mapping[Role, Series], study))
    return Volume(
        pixels,
        study[_base(study)].names,
        source=_source(study),
        warnings=(*warnings, *_remarks(study)),
    )


def _base(study: Mapping[Role | None, Series]) -> Role | None:
    """The series that names the slices and stands in for missing ones."""
    return next(role for role in (None, *STAND_INS) if role in study)


def _source(study: Mapping[Role | None, Series]) -> str:
    return "+".join(sorted({kind for series in study.values() for kind in series.source.split("+")}))


def _one_series(series: Series) -> tuple[Pixels, list[str]]:
    """The pixels of a study without roles: grey or one picture a channel."""
    pixels = np.empty((*series.shape, len(CHANNELS)), series.depth)
    for target, page in zip(pixels, series.decode(), strict=True):
        target[...] = page if page.ndim == 3 else page[..., np.newaxis]
    if not all(np.array_equal(pixels[..., 0], pixels[..., channel]) for channel in (1, 2)):
        return pixels, []
    return pixels, [
        f"The upload is grey: its one sequence was used for all three channels ({', '.join(CHANNELS)}), "
        "so the result may be less exact than with all of them."
    ]


def _by_role(study: Mapping[Role, Series]) -> tuple[Pixels, list[str]]:
    """The pixels of a study with one series a channel."""
    base = next(role for role in STAND_INS if role in study)
    depth = np.result_type(*(series.depth for series in study.values()))
    pixels = np.empty((*study[base].shape, len(CHANNELS)), depth)
    warnings = []
    for channel, role in enumerate(ROLES):
        if role not in study:
            warnings.append(
                f"No {ROLES[role]} series was uploaded; a copy of the {ROLES[base]} series stands in for it."
            )
            continue
        coloured = False
        for target, page in zip(pixels, study[role].decode(), strict=True):
            target[..., channel], in_colour = _grey(page)
            coloured |= in_colour
        if coloured:
            warnings.append(f"The {ROLES[role]} series is in colour; the mean of its colours was used.")
    for channel, role in enumerate(ROLES):
        if role not in study:
            pixels[..., channel] = pixels[..., list(ROLES).index(base)]
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
