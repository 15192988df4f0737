"""A study of DICOM files: which series is which sequence, and their pixels on one grid."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from metseg.contracts import Align, Grid, Role
from metseg.errors import (
    BadArchive,
    SeveralPatients,
    UnreadableImage,
    UnsupportedFormat,
    UnusableImage,
)
from metseg.formats.dicom.completeness import check_coverage, check_repetitions, check_whole
from metseg.formats.dicom.instances import Instance, read_instance
from metseg.formats.dicom.pixels import SUPPORTED_SYNTAXES, decode_stack, output_dtype
from metseg.formats.dicom.roles import ChosenStack, choose_for_field, choose_stacks
from metseg.formats.dicom.source_headers import read_source_images
from metseg.formats.dicom.stacks import Stack, group_stacks
from metseg.formats.dicom.subject import read_subject
from metseg.formats.names import file_stem, page_stems, unique_names
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
from metseg.formats.study import StudyFile, Subject
from metseg.imaging import (
    ROLES,
    Array,
    StudySize,
    Volume,
    canonical_affine,
    canonical_grid,
    from_canonical,
    spacing_mm_of,
)
from metseg.settings import Limits

__all__ = ["DicomStudyReader", "open_study"]

COLUMN_AXIS, ROW_AXIS, FRAME_AXIS = 0, 1, 2
"""The axes of a stack in the file's order."""


@dataclass(frozen=True)
class DicomStudyReader:
    """Reads stacks by role, or a single one by None."""

    chosen: Mapping[Role | None, ChosenStack]
    warnings: tuple[str, ...]
    subject: Subject
    source: str = "dicom"

    @property
    def reference(self) -> Stack:
        """The stack whose grid the study has."""
        return self.chosen[reference_role(list(self.chosen))].stack

    @property
    def shape(self) -> tuple[int, int, int]:
        """Slices, rows and columns."""
        return _geometry(self.reference).shape

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
            UnsupportedFormat: a file is compressed in an unsupported way.
            UnusableImage: as in `sequences.assemble_volume`.
            MixedSizes: the same.
        """
        try:
            return self._read(align, threads, negative=False)
        except NegativeVoxels:
            return self._read(align, threads, negative=True)

    def _read(self, align: Align, threads: int, *, negative: bool) -> Volume:
        """Read the pixels; NegativeVoxels where there are such, and they were not expected."""
        places = allocate(self._layout(negative=negative))
        images = {role: _read_sequence(choice, places.by_role[role]) for role, choice in self.chosen.items()}
        volume = assemble_volume(
            images, _names(self.reference), self.source, warnings=self.warnings, align=align, threads=threads,
            channels=places.channels,
        )  # fmt: skip
        return replace(volume, origin=read_source_images(self.reference))

    def _layout(self, *, negative: bool) -> Layout:
        return {
            role: (_geometry(one.stack), output_dtype(one.stack, negative=negative))
            for role, one in self.chosen.items()
        }


def open_study(files: Sequence[StudyFile], limits: Limits, stated: Role | None = None) -> DicomStudyReader:
    """Open a study by its headers.

    Args:
        files: of the upload.
        limits: of one submission.
        stated: the sequence of a single series, according to its submitter; overrules its header.

    Returns:
        Its reader.

    Raises:
        BadInput: one of its subclasses.
    """
    if any(file.kind == "zip" for file in files):
        raise BadArchive("An archive within an archive is not opened; zip the DICOM files themselves.")
    instances, warnings = _instances(files, limits)
    _check_one_study(instances)
    chosen, choice_warnings = _choose(instances, stated)
    _check_chosen(chosen, limits)
    stack_warnings = (warning for choice in chosen.values() for warning in choice.stack.warnings)
    all_warnings = [*warnings, *choice_warnings, *stack_warnings, *_frame_of_reference_warnings(chosen)]
    return DicomStudyReader(chosen, tuple(dict.fromkeys(all_warnings)), read_subject(instances))


def _instances(files: Sequence[StudyFile], limits: Limits) -> tuple[list[Instance], list[str]]:
    """The MR images among the files, and warnings of the others."""
    images: list[Instance] = []
    others: Counter[str] = Counter()
    foreign = 0
    for number, file in enumerate(files, 1):
        if file.kind != "dicom":
            foreign += 1
            continue
        try:
            found = read_instance(file, limits)
        except UnreadableImage as error:  # the name may be a patient's
            raise UnreadableImage(f"File {number} of {len(files)}: {error.detail}") from error
        if isinstance(found, Instance):
            images.append(found)
        else:
            others[found] += 1
    kinds = ", ".join(f"{kind} ({count})" for kind, count in sorted(others.items()))
    if not images:
        raise UnsupportedFormat(f"The DICOM files contain no MR image, only: {kinds}; send the MR series of the head.")
    warnings = [f"DICOM files that are not MR images were left out: {kinds}."] if kinds else []
    if foreign:
        warnings.append(f"Files that are not DICOM were left out: {foreign}.")
    return images, warnings


def _check_one_study(instances: Sequence[Instance]) -> None:
    """Refuse images of several patients or, without fields by role, of several studies."""
    if any(len(set(values) - {""}) > 1 for values in zip(*(each.patient for each in instances), strict=True)):
        raise SeveralPatients("The DICOM files are of several patients; submit each patient separately.")
    if len({each.study for each in instances if each.file.role is None}) > 1:
        raise SeveralPatients("The DICOM files are of several studies; submit each study separately.")


def _choose(instances: Sequence[Instance], stated: Role | None) -> tuple[dict[Role | None, ChosenStack], list[str]]:
    roles = {each.file.role for each in instances}
    if roles == {None}:
        stacks, warnings = _group(instances)
        if stated is not None and len(stacks) == 1:
            chosen: dict[Role | None, ChosenStack] = {stated: choose_for_field(stated, stacks)}
            return chosen, [*warnings, *_coverage_warnings(chosen, by_field=True)]
        warnings += [] if stated is None else [UNUSED_CHOICE]
        chosen, choice_warnings = choose_stacks(stacks)
        whole = [warning for choice in chosen.values() for warning in check_whole(choice.stack, stacks)]
        return chosen, [*warnings, *choice_warnings, *whole, *_coverage_warnings(chosen, by_field=False)]
    chosen, warnings = {}, []
    for role in (role for role in ROLES if role in roles):
        stacks, stack_warnings = _group([instance for instance in instances if instance.file.role == role])
        chosen[role] = choose_for_field(role, stacks)
        warnings += [*stack_warnings, *check_whole(chosen[role].stack, stacks)]
    return chosen, [*warnings, *_coverage_warnings(chosen, by_field=True)]


def _coverage_warnings(chosen: Mapping[Role | None, ChosenStack], *, by_field: bool) -> list[str]:
    stacks = {role: choice.stack for role, choice in chosen.items()}
    return list(check_coverage(stacks, reference_role(list(stacks)), by_field=by_field))


def _group(instances: Sequence[Instance]) -> tuple[list[Stack], list[str]]:
    stacks, warnings = group_stacks(instances)
    if not stacks:
        raise UnusableImage("The DICOM files contain only localisers; send the series that show the whole head.")
    return stacks, warnings


def _check_chosen(chosen: Mapping[Role | None, ChosenStack], limits: Limits) -> None:
    """Refuse what is too large or cannot be decoded, before a pixel is decoded."""
    for choice in chosen.values():
        check_repetitions(choice.stack)
        geometry = _geometry(choice.stack)
        check_volume_size(geometry.shape, limits)
        check_geometry(geometry)
        if not {member.instance.syntax for member in choice.stack.members} <= SUPPORTED_SYNTAXES:
            raise UnsupportedFormat("A DICOM file is compressed in a way that cannot be read; export it uncompressed.")


def _frame_of_reference_warnings(chosen: Mapping[Role | None, ChosenStack]) -> Iterable[str]:
    if len({choice.stack.first.frame_of_reference for choice in chosen.values()}) > 1:
        yield (
            "The series do not share a frame of reference, so the patient may have moved between them: check that "
            "they are aligned."
        )


def _geometry(stack: Stack) -> VolumeGeometry:
    shape = stack.shape[2], stack.shape[1], stack.shape[0]
    if stack.affine is None:
        grid = Grid(axes=(FRAME_AXIS, ROW_AXIS, COLUMN_AXIS), flipped=(False, False, False), shape=shape, affine=None)
        return VolumeGeometry(stack.shape, stack.spacing_mm, None, grid)
    grid = canonical_grid(shape, stack.affine)
    affine = canonical_affine(grid, stack.affine)
    slices, rows, columns = (shape[axis] for axis in grid.axes)
    return VolumeGeometry((slices, rows, columns), spacing_mm_of(affine), affine, grid)


def _read_sequence(choice: ChosenStack, pixels: Array) -> SequenceImage:
    """Read one stack to its place."""
    geometry = _geometry(choice.stack)
    decode_stack(choice.stack, from_canonical(pixels, geometry.grid).transpose(2, 1, 0))
    frames, rows, columns = choice.stack.shape
    description = f"{frames} slices of {rows} x {columns} pixels, identified by {choice.role_source}"
    return SequenceImage(pixels, geometry, description, choice.identified_by)


def _names(stack: Stack) -> tuple[str, ...]:
    """The stem of each slice's file, `missing` for a gap; slices that run across the files are numbered."""
    geometry = _geometry(stack)
    files = [member.instance.file.name for member in stack.members]
    grid = geometry.grid
    if grid.axes[0] != FRAME_AXIS:
        return tuple(page_stems("slice", geometry.shape[0]))
    is_enhanced = len({member.instance for member in stack.members}) == 1
    named = list(page_stems(files[0], len(files))) if is_enhanced else [file_stem(name) for name in files]
    by_index = dict(zip(stack.indices, named, strict=True))
    stems = [by_index.get(index, "missing") for index in range(stack.shape[0])]
    return unique_names(reversed(stems) if grid.flipped[0] else stems)
