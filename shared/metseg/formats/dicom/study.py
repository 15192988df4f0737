"""A study of DICOM files: which series is which sequence, and their pixels on one grid."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from metseg.contracts import Align, Grid, Role
from metseg.errors import BadArchive, InvalidParameter, SeveralPatients, UnsupportedFormat, UnusableImage
from metseg.formats.dicom.instances import Instance, read_instance
from metseg.formats.dicom.pixels import SYNTAXES, decode
from metseg.formats.dicom.roles import Choice, choose, role_of
from metseg.formats.dicom.source_headers import origin_of
from metseg.formats.dicom.stacks import Stack, stacks
from metseg.formats.names import page_stems, stem, unique
from metseg.formats.sequences import Place, Scan, assemble, base_of, check_place, check_size
from metseg.formats.study import File
from metseg.imaging import ROLES, SEQUENCE_NAMES, Volume, canonical_affine, canonical_grid, spacing_mm_of, to_canonical
from metseg.settings import Limits

__all__ = ["DicomStudy", "study"]

ACROSS, DOWN, THROUGH = 0, 1, 2
"""The axes of a stack: columns, rows, frames."""


@dataclass(frozen=True)
class DicomStudy:
    """Stacks by role, or the only one by None."""

    chosen: Mapping[Role | None, Choice]
    warnings: tuple[str, ...]
    source: str = "dicom"

    @property
    def base(self) -> Stack:
        """The stack that the study lies on."""
        return self.chosen[base_of(list(self.chosen))].stack

    @property
    def shape(self) -> tuple[int, int, int]:
        """Slices, rows and columns."""
        return _place(self.base).shape

    def read(self, align: Align, threads: int) -> Volume:
        """The pixels.

        Raises:
            UnreadableImage: a file is damaged.
            UnsupportedFormat: a file is compressed in a way that cannot be read.
            UnusableImage: as of `channels.assemble`.
            MixedSizes: the same.
        """
        scans = {role: _scan(choice) for role, choice in self.chosen.items()}
        names = _names(self.base)
        volume = assemble(scans, names, self.source, warnings=self.warnings, align=align, threads=threads)
        return replace(volume, origin=origin_of(self.base))


def study(files: Sequence[File], limits: Limits) -> DicomStudy:
    """The study, by its headers.

    Raises:
        BadInput: one of its kinds, whichever fits.
    """
    if any(file.kind == "zip" for file in files):
        raise BadArchive("An archive within an archive is not opened; zip the DICOM files themselves.")
    instances, warnings = _instances(files, limits)
    _check_one_study(instances)
    chosen, remarks = _chosen(instances)
    _check(chosen, limits)
    of_stacks = (remark for choice in chosen.values() for remark in choice.stack.remarks)
    return DicomStudy(chosen, tuple(dict.fromkeys([*warnings, *remarks, *of_stacks, *_frames_of_reference(chosen)])))


def _instances(files: Sequence[File], limits: Limits) -> tuple[list[Instance], list[str]]:
    """The MR images among the files, and warnings of the others."""
    images: list[Instance] = []
    others: Counter[str] = Counter()
    strangers = 0
    for file in files:
        if file.kind != "dicom":
            strangers += 1
            continue
        found = read_instance(file, limits)
        if isinstance(found, Instance):
            images.append(found)
        else:
            others[found] += 1
    told = ", ".join(f"{kind} ({count})" for kind, count in sorted(others.items()))
    if not images:
        raise UnsupportedFormat(f"The DICOM files hold no MR image but: {told}; send the MR series of the head.")
    warnings = [f"DICOM files that are no MR images were left out: {told}."] if told else []
    if strangers:
        warnings.append(f"Files that are not DICOM were left out: {strangers}.")
    return images, warnings


def _check_one_study(instances: Sequence[Instance]) -> None:
    """Refuse images of several patients or, where no fields tell the roles, of several studies."""
    if len({each.patient for each in instances} - {""}) > 1:
        raise SeveralPatients("The DICOM files are of several patients; submit each patient on its own.")
    if len({each.study for each in instances if each.file.role is None}) > 1:
        raise SeveralPatients("The DICOM files are of several studies; submit each study on its own.")


def _chosen(instances: Sequence[Instance]) -> tuple[dict[Role | None, Choice], list[str]]:
    roles = {each.file.role for each in instances}
    if roles == {None}:
        found, warnings = _found(instances)
        chosen, remarks = choose(found)
        return chosen, [*warnings, *remarks]
    chosen, warnings = {}, []
    for role in (role for role in ROLES if role in roles):
        found, remarks = _found([each for each in instances if each.file.role == role])
        chosen[role] = _only(role, found)
        warnings += remarks
    return chosen, warnings


def _found(instances: Sequence[Instance]) -> tuple[list[Stack], list[str]]:
    found, warnings = stacks(instances)
    if not found:
        raise UnusableImage("The DICOM files hold localisers alone; send the series that show the whole head.")
    return found, warnings


def _only(role: Role, found: Sequence[Stack]) -> Choice:
    """The one stack of a field, or the one of several that tells the field's role."""
    told = [stack for stack in found if role_of(stack.traits)[0] == role] if len(found) > 1 else list(found)
    if len(told) != 1:
        raise InvalidParameter(
            f"The field {role} holds several series, of which not just one tells that it is the {SEQUENCE_NAMES[role]} "
            "series; send one series in each field."
        )
    return Choice(told[0], "its field")


def _check(chosen: Mapping[Role | None, Choice], limits: Limits) -> None:
    """Refuse what is too large or cannot be decoded, before a pixel is."""
    for choice in chosen.values():
        place = _place(choice.stack)
        check_size(place.shape, limits)
        check_place(place)
        if not {member.instance.syntax for member in choice.stack.members} <= SYNTAXES:
            raise UnsupportedFormat("A DICOM file is compressed in a way that cannot be read; export it uncompressed.")


def _frames_of_reference(chosen: Mapping[Role | None, Choice]) -> Iterable[str]:
    if len({choice.stack.first.frame_of_reference for choice in chosen.values()}) > 1:
        yield (
            "The series do not share a frame of reference, so the patient may have moved between them: check that "
            "they lie on each other."
        )


def _place(stack: Stack) -> Place:
    frames, rows, columns = stack.shape
    shape = (columns, rows, frames)
    if stack.affine is None:
        grid = Grid(axes=(THROUGH, DOWN, ACROSS), flipped=(False, False, False), shape=shape, affine=None)
        return Place(stack.shape, stack.spacing_mm, None, grid)
    grid = canonical_grid(shape, stack.affine)
    affine = canonical_affine(grid, stack.affine)
    ours = [shape[axis] for axis in grid.axes]
    return Place((ours[0], ours[1], ours[2]), spacing_mm_of(affine), affine, grid)


def _scan(choice: Choice) -> Scan:
    place = _place(choice.stack)
    voxels = decode(choice.stack).transpose(2, 1, 0)
    frames, rows, columns = choice.stack.shape
    words = f"{frames} slices of {rows} x {columns} pixels, told by {choice.told_by}"
    return Scan(np.ascontiguousarray(to_canonical(voxels, place.grid)), place, words)


def _names(stack: Stack) -> tuple[str, ...]:
    """The stem of each slice's file; slices that run across the files are numbered."""
    place = _place(stack)
    files = [member.instance.file.name for member in stack.members]
    grid = place.grid
    if grid.axes[0] != THROUGH:
        return tuple(page_stems("slice", place.shape[0]))
    one = len({member.instance for member in stack.members}) == 1
    stems = list(page_stems(files[0], len(files))) if one else [stem(name) for name in files]
    return unique(reversed(stems) if grid.flipped[0] else stems)
