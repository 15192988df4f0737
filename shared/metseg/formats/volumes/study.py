"""A study of volumes in files: one sequence per file, or three in one file; inside a ZIP or not."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from os import SEEK_END
from pathlib import PurePosixPath
from typing import BinaryIO, NamedTuple

import numpy as np

from metseg.contracts import Align, IdentifiedBy, Role
from metseg.errors import ArchiveBomb, BadArchive, InvalidParameter, MixedSizes, SeveralPatients, UnsupportedFormat
from metseg.formats.names import base_name, file_stem, page_stems
from metseg.formats.nifti import header as nifti
from metseg.formats.roles import UNUSED_SEQUENCES, refuse_unused, role_from_name, sequence_from_name
from metseg.formats.sequences import (
    UNUSED_CHOICE,
    Layout,
    NegativeVoxels,
    SequenceImage,
    VolumeGeometry,
    allocate,
    assemble_volume,
    check_geometry,
    check_volume_size,
    reference_role,
    study_size,
)
from metseg.formats.sniff import Kind
from metseg.formats.study import UNKNOWN_SUBJECT, StudyFile, Subject
from metseg.formats.volumes import metaimage, nrrd
from metseg.formats.volumes.header import VolumeHeader, is_plausible
from metseg.formats.volumes.voxels import output_dtype, read_voxels
from metseg.imaging import (
    CHANNELS,
    ROLES,
    SEQUENCE_NAMES,
    Array,
    StudySize,
    Volume,
    canonical_affine,
    canonical_grid,
    from_canonical,
    spacing_mm_of,
)
from metseg.settings import MIB, Limits

__all__ = ["HEADER_READERS", "VolumeStudyReader", "open_study"]

SUFFIX = ".nii"
PATIENT = re.compile(
    r"(?<![a-z0-9])(?:(?:sub|subj|subject|pat|patient|pt|case)[-_ ]?0*([a-z]*[0-9]+)"
    r"|brats[a-z0-9]*[-_](?:[a-z]+[-_])?0*([0-9]+)|tcga[-_][a-z0-9]{2}[-_]([a-z0-9]{4}))"
)
"""How names say whose volume it is; that of the file counts, then that of its folders."""
MAX_SIZE_DIFFERENCE = 0.02
"""A share of a voxel's side by which two fields of a header may differ."""
HEADER_READERS: dict[Kind, Callable[[BinaryIO], VolumeHeader]] = {
    "nifti": nifti.read_header,
    "nrrd": nrrd.read_header,
    "metaimage": metaimage.read_header,
}
"""What reads the header of a file, by its kind; every kind here is opened by `open_study`."""
SOURCES: dict[IdentifiedBy, str] = {
    "stated": "by its field",
    "name": "by its name",
    "place": "by its place in the file",
}
"""How the role of a volume was found, in words."""


_Choice = dict[Role | None, tuple[StudyFile, IdentifiedBy | None]]
"""The file of each role, and what decided it."""


class _OpenedFile(NamedTuple):
    """A file, the one with its voxels (mostly itself), and how its role was found."""

    file: StudyFile
    voxels: StudyFile
    header: VolumeHeader
    identified_by: IdentifiedBy | None


class _Sequence(NamedTuple):
    """A volume of a file, its geometry, and how its role was found."""

    opened: _OpenedFile
    geometry: VolumeGeometry
    volume: int
    identified_by: IdentifiedBy | None

    @property
    def header(self) -> VolumeHeader:
        """Of the file."""
        return self.opened.header


@dataclass(frozen=True)
class VolumeStudyReader:
    """Reads volumes by role, or a single one by None."""

    sequences: Mapping[Role | None, _Sequence]
    warnings: tuple[str, ...]
    source: str
    subject: Subject = UNKNOWN_SUBJECT

    @property
    def shape(self) -> tuple[int, int, int]:
        """Slices, rows and columns."""
        return self._reference.geometry.shape

    @property
    def size(self) -> StudySize:
        """What decides how much memory the study takes at most."""
        return study_size(self._layout(negative=True))

    def read_volume(self, align: Align, threads: int) -> Volume:
        """Read the pixels.

        Args:
            align: `rigid` registers sequences on different grids, `none` trusts their headers.
            threads: for resampling.

        Returns:
            The study on the grid of its reference sequence.

        Raises:
            UnreadableImage: a file is damaged.
            UnusableImage: as in `sequences.assemble_volume`.
            MixedSizes: the same.
        """
        try:
            return self._read(align, threads, negative=False)
        except NegativeVoxels:
            return self._read(align, threads, negative=True)

    def _read(self, align: Align, threads: int, *, negative: bool) -> Volume:
        """Read the pixels; NegativeVoxels where there are such, and they were not expected."""
        warnings = list(self.warnings)
        places = allocate(self._layout(negative=negative))
        images = {
            role: _read_sequence(sequence, warnings, places.by_role[role]) for role, sequence in self.sequences.items()
        }
        names = tuple(
            page_stems(f"{file_stem(self._reference.opened.file.name).removesuffix(SUFFIX)}.x", self.shape[0])
        )
        return assemble_volume(
            images, names, self.source, warnings=warnings, align=align, threads=threads, channels=places.channels
        )

    def _layout(self, *, negative: bool) -> Layout:
        return {
            role: (each.geometry, output_dtype(each.header, negative=negative)) for role, each in self.sequences.items()
        }

    @property
    def _reference(self) -> _Sequence:
        """The sequence whose grid the study has."""
        return self.sequences[reference_role(list(self.sequences))]


def open_study(files: Sequence[StudyFile], limits: Limits, stated: Role | None = None) -> VolumeStudyReader:
    """Open a study by its headers.

    Args:
        files: of the upload.
        limits: of one submission.
        stated: the sequence of a single volume, according to its submitter; overrules its name.

    Returns:
        Its reader.

    Raises:
        BadInput: one of its subclasses.
    """
    volumes = [file for file in files if file.kind in HEADER_READERS]
    if any(file.kind == "zip" for file in files):
        raise BadArchive("An archive within an archive is not opened; zip the volumes themselves.")
    chosen, choice_warnings = _choose(volumes, stated)
    _check_one_patient([file for file, _ in chosen.values()])
    opened = {role: _open_file(file, by, files) for role, (file, by) in chosen.items()}
    others = len(files) - len(volumes) - sum(one.voxels is not one.file for one in opened.values())
    warnings = [f"Files that are not volumes were left out: {others}."] if others else []
    sequences = _sequences(opened)
    _check_sequences(sequences, limits)
    if stated is not None and len(sequences) > 1:
        warnings.append(UNUSED_CHOICE)
    source = "+".join(sorted({one.file.kind for one in opened.values() if one.file.kind is not None}))
    return VolumeStudyReader(sequences, (*warnings, *choice_warnings, *_header_warnings(sequences)), source)


def _open_file(file: StudyFile, by: IdentifiedBy | None, files: Sequence[StudyFile]) -> _OpenedFile:
    """A chosen file and its header, with the file that has its voxels.

    Raises:
        UnsupportedFormat: the header names a file that was not uploaded with it.
    """
    with file.open() as stream:
        header = HEADER_READERS[file.kind](stream)  # type: ignore[index]
        file_bytes = stream.seek(0, SEEK_END)
    voxels = file
    if header.voxel_file is not None:
        voxels = _voxel_file(file, header.voxel_file, files)
        with voxels.open() as stream:
            file_bytes = stream.seek(0, SEEK_END)
    header.check_length(file_bytes)
    return _OpenedFile(file, voxels, header, by)


def _voxel_file(file: StudyFile, name: str, files: Sequence[StudyFile]) -> StudyFile:
    """The uploaded file of that name next to a header."""
    place = PurePosixPath(file.name).parent / base_name(name)
    for other in files:
        if other is not file and other.role == file.role and PurePosixPath(other.name) == place:
            return other
    raise UnsupportedFormat(
        "A header (.mhd) was sent without the file of its voxels that it names; send both together, or save the volume "
        "as one .mha file."
    )


def _choose(volumes: Sequence[StudyFile], stated: Role | None) -> tuple[_Choice, list[str]]:
    """The file of each role and how the role was found, and a warning of what was left out."""
    if volumes[0].role is not None:
        return _choose_by_field(volumes), []
    if len(volumes) == 1 and stated is not None:
        return {stated: (volumes[0], "stated")}, []
    if len(volumes) == 1:
        refuse_unused([volumes[0].name])
        role = role_from_name(volumes[0].name)
        return {role: (volumes[0], None if role is None else "name")}, []
    chosen: _Choice = {}
    left_out = []
    for file in volumes:
        role = role_from_name(file.name)
        if role is None:
            kind = UNUSED_SEQUENCES.get(sequence_from_name(file.name) or "", "no sequence in its name")
            left_out.append(f"{PurePosixPath(file.name).name} ({kind})")
        elif role in chosen:
            raise InvalidParameter(
                f"Two volumes are named as {SEQUENCE_NAMES[role]}; send one, or choose the sequence of each file "
                "(the fields pre, flair and post)."
            )
        else:
            chosen[role] = (file, "name")
    if not chosen:
        raise InvalidParameter(
            "No file name indicates a sequence; name the files t1, flair and t1c, or choose the sequence of each file "
            "(the fields pre, flair and post)."
        )
    return chosen, [f"Volumes that the model does not use were left out: {', '.join(left_out)}."] if left_out else []


def _check_one_patient(files: Sequence[StudyFile]) -> None:
    """Refuse volumes of several patients, by their names or, without fields by role, by their folders.

    Raises:
        SeveralPatients: the names have different patients, or folders differ that are not named as sequences.
    """
    found = [PATIENT.findall(file.name.casefold()) for file in files]
    if len({"".join(each[-1]) for each in found if each}) > 1:
        raise SeveralPatients("The names of the volumes are of several patients; submit each patient separately.")
    folders = [set(PurePosixPath(file.name).parent.parts) for file in files]
    apart = [own for folder in folders if (own := folder - folders[0].intersection(*folders))]
    if files[0].role is None and len(apart) > 1 and not all(any(map(sequence_from_name, parts)) for parts in apart):
        raise SeveralPatients(
            "The volumes are in several folders, as if of several patients; submit each patient's separately, or send "
            "each volume in its field: pre, flair or post."
        )


def _choose_by_field(volumes: Sequence[StudyFile]) -> _Choice:
    chosen: _Choice = {}
    for file in volumes:
        if file.role in chosen:
            raise InvalidParameter("A field holds several volumes; send one volume in each of pre, flair and post.")
        chosen[file.role] = (file, "stated")
    return chosen


def _sequences(opened: Mapping[Role | None, _OpenedFile]) -> dict[Role | None, _Sequence]:
    """The volumes by role; a single file of three volumes has all of them."""
    files = list(opened.values())
    guide = next((one.header for one in files if one.header.has_position), None)
    first = files[0]
    if len(files) == 1 and first.header.volumes == len(ROLES) and first.file.role is None:
        return {
            role: _Sequence(first, _geometry(first.header, guide), volume, "place") for volume, role in enumerate(ROLES)
        }
    for one in files:
        if one.header.volumes is not None:
            raise UnsupportedFormat(
                f"A {one.header.format} file holds {one.header.volumes} volumes; send one volume per file, or one file "
                "of three: pre-contrast, FLAIR, post-contrast."
            )
    return {role: _Sequence(one, _geometry(one.header, guide), 0, one.identified_by) for role, one in opened.items()}


def _geometry(header: VolumeHeader, guide: VolumeHeader | None) -> VolumeGeometry:
    """The geometry of a volume; without a position it has the orientation of the `guide`, if there is one."""
    oriented = header if header.has_position or guide is None else guide
    grid = canonical_grid(header.shape, oriented.affine, has_position=header.has_position).model_copy(
        update={"nifti": header.fields}
    )
    affine = canonical_affine(grid, header.affine)
    slices, rows, columns = (header.shape[axis] for axis in grid.axes)
    spacing_mm = spacing_mm_of(affine) if header.has_spacing else None
    return VolumeGeometry((slices, rows, columns), spacing_mm, affine if header.has_position else None, grid)


def _check_sequences(sequences: Mapping[Role | None, _Sequence], limits: Limits) -> None:
    """Refuse what is too large, before a voxel is decompressed.

    The compression ratio does not matter: no more is decompressed than the header declares, and that is checked here.
    """
    for sequence in sequences.values():
        check_volume_size(sequence.geometry.shape, limits)
        check_geometry(sequence.geometry)
    headers = {id(sequence.header): sequence.header for sequence in sequences.values()}.values()
    if sum(header.content_bytes for header in headers) > limits.expanded_bytes:
        raise ArchiveBomb(
            f"The volumes expand to more than the {limits.expanded_bytes // MIB} MiB allowed; send smaller ones."
        )
    if len({sequence.geometry.shape for sequence in sequences.values()}) > 1 and not all(
        sequence.header.has_position for sequence in sequences.values()
    ):
        raise MixedSizes(
            "The volumes differ in size and one has no position in the patient; send volumes of one size, or with "
            "their orientation."
        )


def _header_warnings(sequences: Mapping[Role | None, _Sequence]) -> list[str]:
    warnings = []
    if not all(sequence.header.has_position for sequence in sequences.values()):
        warnings.append("The header has no orientation, so the usual one was assumed: check that the head is upright.")
    if any(_is_contradictory(sequence.header) for sequence in sequences.values()):
        warnings.append(
            "A header gives two sizes of its voxels; that of the transformation to the patient's space was used (in "
            "NIfTI: sform or qform, not pixdim). If it is wrong, so are all lengths and volumes."
        )
    if any(sequence.header.volumes for sequence in sequences.values()):
        warnings.append(f"The three volumes of the file were read as {', '.join(CHANNELS)}, in this order.")
    return warnings


def _is_contradictory(header: VolumeHeader) -> bool:
    """Whether the sizes of voxels in a NIfTI header differ from those of its transformation."""
    sizes = np.array(header.fields.pixdim[1:4]) * nifti.unit_mm(header.fields.xyzt_units)
    if not header.has_position or not is_plausible(sizes).all():
        return False
    by_affine = np.linalg.norm(header.affine[:3, :3], axis=0)
    return bool((np.abs(sizes / by_affine - 1) > MAX_SIZE_DIFFERENCE).any())


def _read_sequence(sequence: _Sequence, warnings: list[str], pixels: Array) -> SequenceImage:
    """Read one volume to its place; adds a warning where its values had to be changed."""
    geometry = sequence.geometry
    with sequence.opened.voxels.open() as stream:
        read_voxels(stream, sequence.header, sequence.volume, from_canonical(pixels, geometry.grid))
    if _replace_missing(pixels):
        warnings.append("Voxels that are not a number (NaN) were set to the darkest value of their volume.")
    slices, rows, columns = geometry.shape
    by = sequence.identified_by
    description = f"{slices} slices of {rows} x {columns} pixels" + (
        "" if by is None else f", identified {SOURCES[by]}"
    )
    return SequenceImage(pixels, geometry, description, by)


def _replace_missing(pixels: Array) -> bool:
    """Set voxels that are not a number to the darkest value, slice by slice; returns whether that was needed."""
    if pixels.dtype.kind != "f":
        return False
    missing = sum(int(np.count_nonzero(np.isnan(one))) for one in pixels)
    if missing in (0, pixels.size):
        return False
    darkest = min(float(np.nanmin(one)) for one in pixels if not np.isnan(one).all())
    for one in pixels:
        one[np.isnan(one)] = darkest
    return True
