"""A study of NIfTI volumes: one sequence per file, or three in one file; inside a ZIP or not."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from metseg.contracts import Align, Role
from metseg.errors import ArchiveBomb, BadArchive, InvalidParameter, MixedSizes, UnreadableImage, UnsupportedFormat
from metseg.formats.names import file_stem, page_stems
from metseg.formats.nifti.header import DAMAGE, NiftiHeader, open_decompressed, read_header
from metseg.formats.roles import UNUSED_SEQUENCES, refuse_unused, sequence_from_name
from metseg.formats.sequences import (
    SequenceImage,
    VolumeGeometry,
    assemble_volume,
    check_geometry,
    check_volume_size,
    reference_role,
)
from metseg.formats.study import StudyFile
from metseg.imaging import (
    CHANNELS,
    ROLES,
    SEQUENCE_NAMES,
    Array,
    Volume,
    canonical_affine,
    canonical_grid,
    spacing_mm_of,
    to_canonical,
)
from metseg.settings import MIB, Limits

__all__ = ["NiftiStudyReader", "open_study"]

SUFFIX = ".nii"


class _Sequence(NamedTuple):
    """A volume of a file, its geometry, and how its role was found."""

    file: StudyFile
    header: NiftiHeader
    geometry: VolumeGeometry
    volume: int
    role_source: str


@dataclass(frozen=True)
class NiftiStudyReader:
    """Reads volumes by role, or a single one by None."""

    sequences: Mapping[Role | None, _Sequence]
    warnings: tuple[str, ...]
    source: str

    @property
    def shape(self) -> tuple[int, int, int]:
        """Slices, rows and columns."""
        return self.sequences[reference_role(list(self.sequences))].geometry.shape

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
        warnings = list(self.warnings)
        images = {role: _read_sequence(sequence, warnings) for role, sequence in self.sequences.items()}
        reference = self.sequences[reference_role(list(self.sequences))]
        names = tuple(page_stems(f"{file_stem(reference.file.name).removesuffix(SUFFIX)}.x", self.shape[0]))
        return assemble_volume(images, names, self.source, warnings=warnings, align=align, threads=threads)


def open_study(files: Sequence[StudyFile], limits: Limits) -> NiftiStudyReader:
    """Open a study by its headers.

    Args:
        files: of the upload.
        limits: of one submission.

    Returns:
        Its reader.

    Raises:
        BadInput: one of its subclasses.
    """
    volumes = [file for file in files if file.kind == "nifti"]
    if any(file.kind == "zip" for file in files):
        raise BadArchive("An archive within an archive is not opened; zip the volumes themselves.")
    warnings = []
    if len(volumes) < len(files):
        warnings.append(f"Files that are no volumes were left out: {len(files) - len(volumes)}.")
    chosen, choice_warnings = _choose(volumes)
    sequences = _sequences({role: (file, role_source, _header(file)) for role, (file, role_source) in chosen.items()})
    _check_sequences(sequences, limits)
    return NiftiStudyReader(sequences, (*warnings, *choice_warnings, *_header_warnings(sequences)), "nifti")


def _header(file: StudyFile) -> NiftiHeader:
    with file.open() as stream:
        return read_header(stream)


def _choose(volumes: Sequence[StudyFile]) -> tuple[dict[Role | None, tuple[StudyFile, str]], list[str]]:
    """The file of each role and how the role was found, and a warning of what was left out."""
    if volumes[0].role is not None:
        return _choose_by_field(volumes), []
    if len(volumes) == 1:
        refuse_unused([volumes[0].name])
        named = sequence_from_name(volumes[0].name)
        return {next((role for role in ROLES if role == named), None): (volumes[0], "by its name")}, []
    chosen: dict[Role | None, tuple[StudyFile, str]] = {}
    left_out = []
    for file in volumes:
        named = sequence_from_name(file.name)
        if named in chosen:
            raise InvalidParameter(
                f"Two volumes are named as {SEQUENCE_NAMES[named]}; send one, or choose the sequence of each file "  # type: ignore[index]
                "(the fields pre, flair and post)."
            )
        role = next((role for role in ROLES if role == named), None)
        if role is None:
            kind = UNUSED_SEQUENCES.get(named or "", "no sequence in its name")
            left_out.append(f"{PurePosixPath(file.name).name} ({kind})")
        else:
            chosen[role] = (file, "by its name")
    if not chosen:
        raise InvalidParameter(
            "No file name indicates a sequence; name the files t1, flair and t1c, or choose the sequence of each file "
            "(the fields pre, flair and post)."
        )
    return chosen, [f"Volumes that the model does not take were left out: {', '.join(left_out)}."] if left_out else []


def _choose_by_field(volumes: Sequence[StudyFile]) -> dict[Role | None, tuple[StudyFile, str]]:
    chosen: dict[Role | None, tuple[StudyFile, str]] = {}
    for file in volumes:
        if file.role in chosen:
            raise InvalidParameter("A field holds several volumes; send one volume in each of pre, flair and post.")
        chosen[file.role] = (file, "by its field")
    return chosen


def _sequences(chosen: Mapping[Role | None, tuple[StudyFile, str, NiftiHeader]]) -> dict[Role | None, _Sequence]:
    """The volumes by role; a single file of three volumes has all of them."""
    files = list(chosen.values())
    guide = next((header for _, _, header in files if header.has_position), None)
    if len(files) == 1 and files[0][2].volumes == len(ROLES) and files[0][0].role is None:
        file, _, header = files[0]
        return {
            role: _Sequence(file, header, _geometry(header, guide), volume, "by its place in the file")
            for volume, role in enumerate(ROLES)
        }
    for _, _, header in files:
        if header.volumes is not None:
            raise UnsupportedFormat(
                f"A NIfTI file holds {header.volumes} volumes; send one volume per file, or one file of three: "
                "pre-contrast, FLAIR, post-contrast."
            )
    return {
        role: _Sequence(file, header, _geometry(header, guide), 0, role_source)
        for role, (file, role_source, header) in chosen.items()
    }


def _geometry(header: NiftiHeader, guide: NiftiHeader | None) -> VolumeGeometry:
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
    if any(sequence.header.volumes for sequence in sequences.values()):
        warnings.append(f"The three volumes of the file were read as {', '.join(CHANNELS)}, in this order.")
    return warnings


def _read_sequence(sequence: _Sequence, warnings: list[str]) -> SequenceImage:
    """Read one volume; adds a warning where its values had to be changed."""
    geometry = sequence.geometry
    with sequence.file.open() as stream, open_decompressed(stream, sequence.header.is_gzipped) as content:
        voxels = _read_voxels(content, sequence.header, sequence.volume)
    missing = np.isnan(voxels) if voxels.dtype.kind == "f" else np.zeros(1, bool)
    if missing.any() and not missing.all():
        voxels[missing] = np.nanmin(voxels)
        warnings.append("Voxels that are no number (NaN) were set to the darkest value of their volume.")
    slices, rows, columns = geometry.shape
    description = f"{slices} slices of {rows} x {columns} pixels, identified {sequence.role_source}"
    return SequenceImage(np.ascontiguousarray(to_canonical(voxels, geometry.grid)), geometry, description)


def _read_voxels(content: BinaryIO, header: NiftiHeader, volume: int) -> Array:
    """Read one volume in the file's order, scaled; plane by plane, so that no more is decompressed than needed.

    Returns:
        uint8 or uint16 where the file stores these unscaled, else float32.
    """
    dtype = header.dtype
    scaled = (header.slope, header.intercept) != (1.0, 0.0)
    native = dtype.newbyteorder("=")
    output = np.dtype(np.float32) if scaled or native not in (np.uint8, np.uint16) else native
    columns, rows, planes = header.shape
    voxels: Array = np.empty(header.shape, output, order="F")
    plane_bytes = columns * rows * dtype.itemsize
    try:
        _skip(content, header.offset + volume * header.volume_bytes)
        for index in range(planes):
            stored: Any = np.frombuffer(_read_exactly(content, plane_bytes), dtype).reshape((columns, rows), order="F")
            with np.errstate(over="ignore", invalid="ignore"):  # infinity is refused by Volume
                voxels[..., index] = stored * header.slope + header.intercept if scaled else stored
        if header.is_gzipped:
            content.read(1)  # at its end, gzip compares its checksum
    except DAMAGE as error:
        raise UnreadableImage("A NIfTI file is damaged or cut off; export it again.") from error
    return voxels


def _skip(content: BinaryIO, count: int) -> None:
    """Skip bytes of a stream that may not be seekable."""
    while count:
        count -= len(_read_exactly(content, min(count, MIB)))


def _read_exactly(content: BinaryIO, count: int) -> bytes:
    data = content.read(count)
    if len(data) < count:
        raise EOFError("fewer bytes than the header declares")
    return data
