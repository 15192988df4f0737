"""One study from its bytes: `inspect` judges it by its headers, `read` makes it a Volume."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from metseg.contracts import Align
from metseg.errors import MixedSizes
from metseg.formats.nifti import study as nifti_study
from metseg.formats.raster import slices
from metseg.formats.sniff import Kind
from metseg.formats.study import File, Study, Upload, check_weight, files
from metseg.imaging import Volume
from metseg.settings import Limits

__all__ = ["Inspection", "inspect", "read"]


def _dicom(files: Sequence[File], limits: Limits) -> Study:
    """A study of DICOM files; its library is loaded where one comes."""
    from metseg.formats import dicom

    return dicom.study(files, limits)


VOLUMES: dict[Kind, Callable[[Sequence[File], Limits], Study]] = {"dicom": _dicom, "nifti": nifti_study.study}
"""What reads a study that holds files of a kind; any other study is slices."""


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
    study = _study(uploads, limits)
    return Inspection(study.source, *study.shape)


def read(uploads: Sequence[Upload], limits: Limits, *, align: Align = "rigid", threads: int = 1) -> Volume:
    """Read one study.

    Several files, one ZIP or one TIFF of several pages are the slices of one volume, in the natural order of
    the numbers in their names. A grey study is copied to the three channels. Uploads with roles are one series
    a channel; a missing one is filled with a copy of the FLAIR series, or of the post-contrast one.

    Volumes (NIfTI) are one sequence each; those that lie on different grids are brought onto that of the FLAIR.

    Args:
        uploads: of the study.
        limits: of one submission.
        align: whether volumes on different grids are registered, or just resampled as their headers tell.
        threads: that registration may use.

    Raises:
        BadInput: one of its kinds, whichever fits; all that `inspect` raises, and damage found in the pixels.
    """
    return _study(uploads, limits).read(align, threads)


def _study(uploads: Sequence[Upload], limits: Limits) -> Study:
    check_weight(uploads, limits)
    found = files(uploads, limits)
    kinds = {file.kind for file in found if file.kind is not None} & VOLUMES.keys()
    if not kinds:
        return slices.study(uploads, limits)
    if len(kinds) > 1:
        raise MixedSizes("The upload mixes formats of volumes; send one study in one format.")
    [kind] = kinds
    return VOLUMES[kind](found, limits)
