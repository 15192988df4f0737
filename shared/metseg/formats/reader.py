"""One study from its bytes: `inspect_upload` checks its headers, `read_volume` reads its pixels."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from metseg.contracts import Align, Role, SequenceChoice
from metseg.errors import MixedSizes
from metseg.formats.raster import study as raster_study
from metseg.formats.roles import sequence_from_name
from metseg.formats.sniff import Kind
from metseg.formats.study import StudyFile, StudyReader, Subject, Upload, check_upload, list_files
from metseg.formats.volumes import study as volume_study
from metseg.imaging import StudySize, Volume
from metseg.settings import Limits

__all__ = ["Inspection", "inspect_upload", "read_volume"]


def _open_dicom(files: Sequence[StudyFile], limits: Limits, stated: Role | None) -> StudyReader:
    """Open a study of DICOM files; pydicom is imported only when one is uploaded."""
    from metseg.formats import dicom

    return dicom.open_study(files, limits, stated)


VOLUME_READERS: dict[Kind, Callable[[Sequence[StudyFile], Limits, Role | None], StudyReader]] = {
    "dicom": _open_dicom,
    **dict.fromkeys(volume_study.HEADER_READERS, volume_study.open_study),
}
"""What opens a study with files of a kind; any other study consists of slices."""


class Inspection(NamedTuple):
    """What the headers of an upload say.

    Attributes:
        source: as in `Volume`.
        slices: of the study, without masks.
        rows: of each slice.
        columns: of each slice.
        size: what decides how much memory the study takes.
        subject: whose study it is.
    """

    source: str
    slices: int
    rows: int
    columns: int
    size: StudySize
    subject: Subject


def inspect_upload(uploads: Sequence[Upload], limits: Limits, sequence: SequenceChoice = "auto") -> Inspection:
    """Refuse a study that cannot be read, by its headers; no pixel is decoded.

    Memory stays small: the members of an archive are decompressed one by one, large ones into a temporary file.

    Args:
        uploads: of the study.
        limits: of one submission.
        sequence: see `read_volume`.

    Returns:
        Format, size and subject of the study.

    Raises:
        BadInput: one of its subclasses.
    """
    study = _open_study(uploads, limits, sequence)
    return Inspection(study.source, *study.shape, study.size, study.subject)


def read_volume(
    uploads: Sequence[Upload],
    limits: Limits,
    *,
    sequence: SequenceChoice = "auto",
    align: Align = "rigid",
    threads: int = 1,
    check_size: Callable[[StudySize], None] = lambda _: None,
) -> Volume:
    """Read one study.

    Several files, one ZIP or one TIFF of several pages are the slices of one volume, in the natural order of the
    numbers in their names. A grey study is copied to the three channels; where nothing says which sequence it is,
    `Volume.identified` is empty. Uploads with roles are one series per channel;
    a missing one is filled with a copy of the FLAIR series, or of the post-contrast one.

    Volumes (NIfTI, NRRD, MetaImage, DICOM) are one sequence each; those on different grids are resampled onto that of
    the FLAIR.

    Args:
        uploads: of the study.
        limits: of one submission.
        sequence: of a study of one grey image, whatever its name or header says; `auto`: these decide.
        align: `rigid` registers volumes on different grids, `none` only resamples them as their headers say.
        threads: that registration may use.
        check_size: called with the study's size before a pixel is read; raises if it does not fit.

    Returns:
        The study's pixels and geometry, with warnings for the reader of the result.

    Raises:
        BadInput: one of its subclasses; all that `inspect_upload` raises, and damage found in the pixels.
    """
    study = _open_study(uploads, limits, sequence)
    check_size(study.size)
    return study.read_volume(align, threads)


def _open_study(uploads: Sequence[Upload], limits: Limits, sequence: SequenceChoice) -> StudyReader:
    check_upload(uploads, limits)
    stated = None if sequence == "auto" else sequence
    files = list_files(uploads, limits)
    volumes = [file for file in files if file.kind in VOLUME_READERS]
    if not volumes:
        return raster_study.open_study(uploads, limits, stated)
    images = [file for file in volumes if file.role is not None or sequence_from_name(file.name) != "mask"]
    readers = {VOLUME_READERS[file.kind] for file in images or volumes if file.kind is not None}
    if len(readers) > 1:
        raise MixedSizes("The upload mixes DICOM with volumes in files; send one study in one format.")
    return readers.pop()(files, limits, stated)
