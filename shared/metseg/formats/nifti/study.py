"""A study of NIfTI volumes: one sequence a file, or three in one file; inside a ZIP or not."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from metseg.contracts import Align, Role
from metseg.errors import ArchiveBomb, BadArchive, InvalidParameter, MixedSizes, UnreadableImage, UnsupportedFormat
from metseg.formats.names import page_stems, stem
from metseg.formats.nifti.header import DAMAGE, Header, read_header, unpacked
from metseg.formats.raster.decoders import Pixels
from metseg.formats.roles import role_of
from metseg.formats.sequences import Place, Scan, assemble, base_of, check_place, check_size
from metseg.formats.study import File
from metseg.imaging import (
    CHANNELS,
    ROLES,
    SEQUENCE_NAMES,
    Volume,
    canonical_affine,
    canonical_grid,
    spacing_mm_of,
    to_canonical,
)
from metseg.settings import MIB, Limits

__all__ = ["NiftiStudy", "study"]

SUFFIX = ".nii"
LEFT_OUT = {"t2": "T2", "mask": "segmentation"}


class _Sequence(NamedTuple):
    """A volume of a file: where it lies, and how its role is known."""

    file: File
    header: Header
    place: Place
    volume: int
    told_by: str


@dataclass(frozen=True)
class NiftiStudy:
    """Volumes by role, or the only one by None."""

    sequences: Mapping[Role | None, _Sequence]
    warnings: tuple[str, ...]
    source: str

    @property
    def shape(self) -> tuple[int, int, int]:
        """Slices, rows and columns."""
        return self.sequences[base_of(list(self.sequences))].place.shape

    def read(self, align: Align, threads: int) -> Volume:
        """The pixels.

        Raises:
            UnreadableImage: a file is damaged.
            UnusableImage: as of `channels.assemble`.
            MixedSizes: the same.
        """
        warnings = list(self.warnings)
        scans = {role: _scan(sequence, warnings) for role, sequence in self.sequences.items()}
        base = self.sequences[base_of(list(self.sequences))]
        names = tuple(page_stems(f"{stem(base.file.name).removesuffix(SUFFIX)}.x", self.shape[0]))
        return assemble(scans, names, self.source, warnings=warnings, align=align, threads=threads)


def study(files: Sequence[File], limits: Limits) -> NiftiStudy:
    """The study, by its headers.

    Raises:
        BadInput: one of its kinds, whichever fits.
    """
    volumes = [file for file in files if file.kind == "nifti"]
    if any(file.kind == "zip" for file in files):
        raise BadArchive("An archive within an archive is not opened; zip the volumes themselves.")
    warnings = []
    if len(volumes) < len(files):
        warnings.append(f"Files that are no volumes were left out: {len(files) - len(volumes)}.")
    chosen, remarks = _chosen(volumes)
    sequences = _sequences({role: (file, told, _header(file)) for role, (file, told) in chosen.items()})
    _check(sequences, limits)
    return NiftiStudy(sequences, (*warnings, *remarks, *_place_remarks(sequences)), "nifti")


def _header(file: File) -> Header:
    with file.open() as stream:
        return read_header(stream)


def _chosen(volumes: Sequence[File]) -> tuple[dict[Role | None, tuple[File, str]], list[str]]:
    """Which file is which sequence and by what it was told, and what was left out."""
    if volumes[0].role is not None:
        return _by_field(volumes), []
    if len(volumes) == 1:
        named = role_of(volumes[0].name)
        return {next((role for role in ROLES if role == named), None): (volumes[0], "by its name")}, []
    chosen: dict[Role | None, tuple[File, str]] = {}
    left_out = []
    for file in volumes:
        named = role_of(file.name)
        if named in chosen:
            raise InvalidParameter(
                f"Two volumes are named as {SEQUENCE_NAMES[named]}; send one, or use the fields pre, flair and post."  # type: ignore[index]
            )
        role = next((role for role in ROLES if role == named), None)
        if role is None:
            left_out.append(LEFT_OUT.get(named or "", "unknown"))
        else:
            chosen[role] = (file, "by its name")
    if not chosen:
        raise InvalidParameter(
            "No name of a volume tells its sequence; call them t1, flair and t1c, or use the fields pre, flair, post."
        )
    return chosen, [f"Volumes that the model does not take were left out: {', '.join(left_out)}."] if left_out else []


def _by_field(volumes: Sequence[File]) -> dict[Role | None, tuple[File, str]]:
    chosen: dict[Role | None, tuple[File, str]] = {}
    for file in volumes:
        if file.role in chosen:
            raise InvalidParameter("A field holds several volumes; send one volume in each of pre, flair and post.")
        chosen[file.role] = (file, "by its field")
    return chosen


def _sequences(chosen: Mapping[Role | None, tuple[File, str, Header]]) -> dict[Role | None, _Sequence]:
    """The volumes by role; a lone file of three volumes is all of them."""
    [*alone] = chosen.values()
    guide = next((header for _, _, header in alone if header.placed), None)
    if len(alone) == 1 and alone[0][2].channels == len(ROLES) and alone[0][0].role is None:
        file, _, header = alone[0]
        return {
            role: _Sequence(file, header, _place(header, guide), volume, "by its place in the file")
            for volume, role in enumerate(ROLES)
        }
    for _, _, header in alone:
        if header.channels is not None:
            raise UnsupportedFormat(
                f"A NIfTI file holds {header.channels} volumes; send one volume a file, or one file of three: "
                "pre-contrast, FLAIR, post-contrast."
            )
    return {
        role: _Sequence(file, header, _place(header, guide), 0, told) for role, (file, told, header) in chosen.items()
    }


def _place(header: Header, guide: Header | None) -> Place:
    """Where a volume lies; one that does not tell is in the order of the `guide`, if any does."""
    told = header if header.placed or guide is None else guide
    grid = canonical_grid(header.shape, told.affine, has_position=header.placed).model_copy(
        update={"nifti": header.place}
    )
    affine = canonical_affine(grid, header.affine)
    slices, rows, columns = (header.shape[axis] for axis in grid.axes)
    spacing_mm = spacing_mm_of(affine) if header.sized else None
    return Place((slices, rows, columns), spacing_mm, affine if header.placed else None, grid)


def _check(sequences: Mapping[Role | None, _Sequence], limits: Limits) -> None:
    """Refuse what is too large, before a voxel is unpacked.

    How well a file packs does not matter: no more is unpacked than its header tells, and that is judged here.
    """
    for sequence in sequences.values():
        check_size(sequence.place.shape, limits)
        check_place(sequence.place)
    headers = {id(sequence.header): sequence.header for sequence in sequences.values()}.values()
    if sum(header.content_bytes for header in headers) > limits.expanded_bytes:
        raise ArchiveBomb(
            f"The volumes expand to more than the {limits.expanded_bytes // MIB} MiB allowed; send smaller ones."
        )
    if len({sequence.place.shape for sequence in sequences.values()}) > 1 and not all(
        sequence.header.placed for sequence in sequences.values()
    ):
        raise MixedSizes(
            "The volumes differ in size and one tells no place in the patient; send volumes of one size, or with "
            "their orientation."
        )


def _place_remarks(sequences: Mapping[Role | None, _Sequence]) -> list[str]:
    remarks = []
    if not all(sequence.header.placed for sequence in sequences.values()):
        remarks.append("The header tells no orientation, so the usual one was taken: check that the head is upright.")
    if any(sequence.header.channels for sequence in sequences.values()):
        remarks.append(f"The three volumes of the file were taken for {', '.join(CHANNELS)}, in this order.")
    return remarks


def _scan(sequence: _Sequence, warnings: list[str]) -> Scan:
    """Read one volume; what had to be done to its values is added to the warnings."""
    place = sequence.place
    with sequence.file.open() as stream, unpacked(stream, sequence.header.packed) as plain:
        voxels = _voxels(plain, sequence.header, sequence.volume)
    nothing = np.isnan(voxels) if voxels.dtype.kind == "f" else np.zeros(1, bool)
    if nothing.any() and not nothing.all():
        voxels[nothing] = np.nanmin(voxels)
        warnings.append("Voxels that are no number (NaN) were taken for the darkest value of their volume.")
    words = f"{place.shape[0]} slices of {place.shape[1]} x {place.shape[2]} pixels, told {sequence.told_by}"
    return Scan(np.ascontiguousarray(to_canonical(voxels, place.grid)), place, words)


def _voxels(plain: BinaryIO, header: Header, volume: int) -> Pixels:
    """One volume in the file's order, scaled; read plane by plane, so that no more is unpacked than is kept.

    Returns:
        uint8 or uint16 where the file stores these unscaled, else float32.
    """
    dtype = header.dtype
    scaled = (header.slope, header.intercept) != (1.0, 0.0)
    native = dtype.newbyteorder("=")
    kept = np.dtype(np.float32) if scaled or native not in (np.uint8, np.uint16) else native
    columns, rows, planes = header.shape
    voxels: Pixels = np.empty(header.shape, kept, order="F")
    plane_bytes = columns * rows * dtype.itemsize
    try:
        _skip(plain, header.offset + volume * header.volume_bytes)
        for index in range(planes):
            stored: Any = np.frombuffer(_exactly(plain, plane_bytes), dtype).reshape((columns, rows), order="F")
            with np.errstate(over="ignore", invalid="ignore"):  # infinity is refused by Volume
                voxels[..., index] = stored * header.slope + header.intercept if scaled else stored
        if header.packed:
            plain.read(1)  # at its end, gzip compares its checksum
    except DAMAGE as error:
        raise UnreadableImage("A NIfTI file is damaged or cut off; export it again.") from error
    return voxels


def _skip(plain: BinaryIO, count: int) -> None:
    """Go forward in a stream that may have to be unpacked."""
    while count:
        count -= len(_exactly(plain, min(count, MIB)))


def _exactly(plain: BinaryIO, count: int) -> bytes:
    data = plain.read(count)
    if len(data) < count:
        raise EOFError("fewer bytes than the header tells")
    return data
