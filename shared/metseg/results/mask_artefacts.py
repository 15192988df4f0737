"""The files of masks and lesions that the store keeps, of the model's own answer and of a reviewed one."""

from collections.abc import Mapping, Sequence

from metseg.contracts import Structure
from metseg.formats import write_labels, write_mask
from metseg.imaging import Affine, Component, Mask, Spacing, label_slices
from metseg.results.exports import LESIONS, MASK, WHOLE_MASK

__all__ = ["write_mask_artefacts"]


def write_mask_artefacts(
    masks: Mapping[Structure, Mask],
    components: Sequence[Component],
    spacing_mm: Spacing | None,
    affine: Affine | None,
) -> dict[str, bytes]:
    """Write the masks of the structures and the number of each lesion.

    Args:
        masks: bool, (slice, row, column), of one shape; the lesions are of the core where there is one.
        components: of the lesions, in the order of their numbers.
        spacing_mm: between slices, rows and columns; None where unknown.
        affine: from (column, row, slice) to RAS+ millimetres; None where unknown.

    Returns:
        Content by the names of `build_artefacts`.
    """
    core, whole = masks.get("core"), masks["whole"]

    def write(mask: Mask) -> bytes:
        return write_mask(mask, (), "nifti", spacing_mm=spacing_mm, affine=affine)

    slices, rows, columns = whole.shape
    shape = slices, rows, columns
    lesions = write_labels(label_slices(components, shape), shape, len(components), spacing_mm, affine)
    if core is None:
        return {MASK: write(whole), LESIONS: lesions}
    return {MASK: write(core), WHOLE_MASK: write(whole), LESIONS: lesions}
