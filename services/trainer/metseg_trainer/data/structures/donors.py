"""Donors: real tumours, shrunk to the size of a metastasis, that give drawn lesions their outline and texture.

After CarveMix (Zhang et al., MICCAI 2021): a ring-enhancing glioma at a third of its size looks like a metastasis, with
the texture of a real scan.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from metseg.imaging import POST, Float32Array, Mask
from metseg_trainer.data.structures import store
from metseg_trainer.data.structures.rendering import RenderedLesion
from metseg_trainer.data.structures.store import StoredStudy

__all__ = ["Donor", "find_donors", "with_donor"]

MIN_AREA_PX = 300
"""A smaller tumour has no texture left after it is shrunk."""
MIN_ENHANCEMENT = 1.2
"""The brighter parts of a donor exceed the brain by at least this factor; other tumours do not enhance."""

Random = np.random.Generator


@dataclass(frozen=True, eq=False)
class Donor:
    """A real tumour, cropped.

    Attributes:
        ratio: float32, (row, column): post-contrast T1 relative to the surroundings.
        mask: float32, the same shape, 1 in the tumour.
        diameter_px: of the disc of its area.
    """

    ratio: Float32Array
    mask: Float32Array
    diameter_px: float


def find_donors(slices: Sequence[StoredStudy]) -> list[Donor]:
    """The tumours of single slices, in any plane, that enhance and are large enough."""
    found = (
        _donor(np.asarray(study.pixels[0][..., POST], np.float32), (np.asarray(study.flags[0]) & store.CORE) > 0)
        for study in slices
    )
    return [donor for donor in found if donor is not None]


def _donor(post: Float32Array, mask: Mask) -> Donor | None:
    if mask.sum() < MIN_AREA_PX:
        return None
    grown = [cv2.dilate(mask.astype(np.uint8), np.ones((side, side), np.uint8)) > 0 for side in (7, 25)]
    around = post[grown[1] & ~grown[0] & (post > 20)]
    if len(around) < 50:
        return None
    ratio = post / float(np.median(around))
    if float(np.percentile(ratio[mask], 85)) < MIN_ENHANCEMENT:
        return None
    rows, columns = np.nonzero(mask)
    box = slice(max(0, rows.min() - 2), rows.max() + 3), slice(max(0, columns.min() - 2), columns.max() + 3)
    return Donor(
        ratio[box].clip(0, 3).astype(np.float32), mask[box].astype(np.float32), 2 * float(np.sqrt(mask.sum() / np.pi))
    )


def with_donor(
    rendered: RenderedLesion, donor: Donor, contrast: float, blur_px: float, random: Random
) -> RenderedLesion:
    """A rendered lesion with the outline and texture of a donor, at the lesion's own size.

    Args:
        rendered: what a slice shows of a drawn lesion.
        donor: of the outline and texture.
        contrast: factor of the donor's difference from its surroundings.
        blur_px: standard deviation of the point spread function.
        random: draws flip and rotation.

    Returns:
        The lesion; unchanged where the slice shows too little of it or the donor would have to be enlarged.
    """
    peak = float(rendered.core.max(initial=0))
    wanted_px = 2 * float(np.sqrt((rendered.core > 0.5 * peak).sum() / np.pi)) if peak > 0.3 else 0.0
    scale = wanted_px / donor.diameter_px
    if wanted_px < 3 or scale > 1:
        return rendered
    weighted, mask = _moved(donor, scale, rendered.core.shape[0], random)
    ratio = np.where(mask > 0.02, weighted / np.maximum(mask, 0.02), 1)
    share = cv2.GaussianBlur(mask, (0, 0), blur_px) * peak
    post = 1 + (cv2.GaussianBlur(ratio.astype(np.float32), (0, 0), 0.3) - 1) * contrast
    necrosis = share * (ratio < 1.05)
    return replace(
        rendered,
        core=share,
        necrosis=necrosis.astype(np.float32),
        haemorrhage=np.zeros_like(share),
        post=post.clip(0.2, 3),
    )


def _moved(donor: Donor, scale: float, side: int, random: Random) -> tuple[Float32Array, Float32Array]:
    """The donor's ratio, weighted by its mask, and its mask: shrunk, rotated and centred in a square."""
    weighted = donor.ratio * donor.mask
    size = tuple(max(1, round(length * scale)) for length in donor.mask.shape[::-1])
    small = [cv2.resize(part, size, interpolation=cv2.INTER_AREA) for part in (weighted, donor.mask)]
    if random.random() < 0.5:
        small = [part[:, ::-1] for part in small]
    move = cv2.getRotationMatrix2D((size[0] / 2 - 0.5, size[1] / 2 - 0.5), random.uniform(0, 360), 1.0)
    move[:, 2] = move[:, 2] + (side - np.array(size)) / 2
    turned = [np.asarray(cv2.warpAffine(np.ascontiguousarray(part), move, (side, side)), np.float32) for part in small]
    return turned[0], turned[1]
