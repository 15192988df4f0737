"""Samples: patches with the core and where it is known, each a function of its number."""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from metseg.errors import DatasetError
from metseg.imaging import POST, Float32Array, UInt8Array, standardise
from metseg_trainer.data.augment import Augmentation
from metseg_trainer.data.config import AugmentationConfig
from metseg_trainer.data.structures import store
from metseg_trainer.data.structures.config import StructureSamplingConfig
from metseg_trainer.data.structures.donors import find_donors
from metseg_trainer.data.structures.drawing import shows_enough_brain
from metseg_trainer.data.structures.prepare import normalise
from metseg_trainer.data.structures.slices import Palette, sample_slice
from metseg_trainer.data.structures.store import StoredStudy

__all__ = ["StructureDataset"]

EVEN_AREA_PX, EVEN_POWER, MAX_WEIGHT = 200, 0.7, 2
"""A pixel of a lesion of fewer pixels than this weighs more: (200 / area) ** 0.7, at most 2."""
MARGIN_PX = 24
"""Margin around a patch for rotation and scaling."""
NEAR_LESION_PX = 60
MIN_HEAD_PX = 100
"""Slices with less head are left out. Those just above the brain have more: service sees them too."""
MAX_UNKNOWN = 0.1
"""A pixel is known where less than this share of it is unknown."""

Random = np.random.Generator
Place = tuple[StoredStudy, int]


class StructureDataset(Dataset[tuple[Tensor, Tensor]]):
    """Augmented patches with partial truth.

    An item is float32 (3, row, column), standardised, 0 in missing sequences; and float32 (2, row, column): the core,
    in [0, 1], and the weights of its pixels: 0 where it is unknown, above 1 in small lesions.

    Args:
        lgg: studies of glioma patients; those without post-contrast T1, whose core is unknown, are left out.
        brisc: single slices. Of the three sources some may be empty.
        studies: whose core is known; those without post-contrast T1 are left out.
        sampling: which slices are drawn.
        augmentation: how they are changed.
        patch_size: rows and columns of a sample.
        seed: of all draws.

    Raises:
        DatasetError: no slice of a source has post-contrast T1 and shows enough of a head.
    """

    def __init__(
        self,
        lgg: Sequence[StoredStudy],
        brisc: Sequence[StoredStudy],
        sampling: StructureSamplingConfig,
        *,
        studies: Sequence[StoredStudy] = (),
        augmentation: AugmentationConfig,
        patch_size: tuple[int, int],
        seed: int,
    ) -> None:
        self._sampling, self._seed, self._patch_size = sampling, seed, patch_size
        places, with_post = _places(lgg), _places(studies)
        slices = [study for study in brisc if _shows_head(study.flags[0])]
        self._tumour, self._clear = _by_tumour(places, store.WHOLE)
        self._with_core, self._without_core = _by_tumour(with_post, store.CORE)
        self._brain = [place for place in places if _shows_brain(*place)]
        self._axial = [(study, 0) for study in slices if study.source == "brisc-axial"]
        self._axial_brain = [place for place in self._axial if _shows_brain(*place)]
        self._other = [(study, 0) for study in slices if study.source != "brisc-axial"]
        sources = {"LGG": (lgg, places), "BRISC": (brisc, slices), "the studies": (studies, with_post)}
        for name, (given, usable) in sources.items():
            if given and not usable:
                raise DatasetError(f"No slice of {name} has post-contrast T1 and shows enough of a head to train on.")
        self._of_studies = _share(sampling.studies, with_post, [*places, *slices])
        self._of_lgg = _share(sampling.lgg, places, slices)
        self._palette = Palette(sampling, find_donors(slices))
        self._augment = Augmentation(patch_size, augmentation)

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        """The sample of that number, however large."""
        random = np.random.default_rng((self._seed, number))
        (study, index), drawn = self._draw(random)
        sample = sample_slice(study, index, self._palette, random, drawn=drawn)
        equalised, normalisation = normalise(sample.pixels[None], sample.head[None], sample.normalisation)
        pixels, planes = self._window(equalised[0], sample.planes, random)
        pixels, planes = self._augment(pixels, planes, int(random.integers(2**31)))
        mean, deviation = (np.array(one, np.float32) for one in (normalisation.mean, normalisation.deviation))
        tensor = standardise(pixels, mean, deviation) * np.array(sample.present, np.float32)
        return (
            torch.from_numpy(np.ascontiguousarray(tensor.astype(np.float32).transpose(2, 0, 1))),
            torch.from_numpy(_truth(planes)),
        )

    def _draw(self, random: Random) -> tuple[Place, bool]:
        """A slice, and whether metastases are drawn into it."""
        config = self._sampling
        if self._of_studies and random.random() < self._of_studies:
            prefer = random.random() < config.tumour
            return _choice(_first(self._with_core, self._without_core, prefer=prefer), random), False
        if random.random() < self._of_lgg:
            if self._brain and random.random() < config.drawn_lgg:
                return _choice(self._brain, random), True
            return _choice(_first(self._tumour, self._clear, prefer=random.random() < config.tumour), random), False
        pool = _first(self._axial, self._other, prefer=random.random() < config.axial)
        if pool is self._axial and self._axial_brain and random.random() < config.drawn_brisc:
            return _choice(self._axial_brain, random), True
        return _choice(pool, random), False

    def _window(self, pixels: UInt8Array, planes: Float32Array, random: Random) -> tuple[UInt8Array, UInt8Array]:
        """A window somewhat larger than a patch, often near a lesion; the truth as uint8."""
        rows, columns = planes.shape[:2]
        centre = random.uniform(0, rows), random.uniform(0, columns)
        count, lesions = cv2.connectedComponents((planes[..., 0] >= 0.5).astype(np.uint8))
        if count > 1 and random.random() < self._sampling.centred:
            lesion = np.flatnonzero(lesions == random.integers(1, count))
            row, column = np.unravel_index(int(random.choice(lesion)), (rows, columns))
            shift = random.uniform(-NEAR_LESION_PX, NEAR_LESION_PX, 2)
            centre = float(row + shift[0]), float(column + shift[1])
        window = tuple(
            _around(at, side + MARGIN_PX, length)
            for at, side, length in zip(centre, self._patch_size, (rows, columns), strict=True)
        )
        return pixels[window], np.rint(planes[window] * 255).astype(np.uint8)


def _places(studies: Sequence[StoredStudy]) -> list[Place]:
    """All slices with enough of a head, of studies with post-contrast T1."""
    known = [study for study in studies if study.present[POST]]
    return [(study, index) for study in known for index, flags in enumerate(study.flags) if _shows_head(flags)]


def _share(wanted: float, own: Sequence[object], others: Sequence[object]) -> float:
    """The share of the samples from a source: all if there are no others, none if it is empty."""
    return (wanted if others else 1.0) if own else 0.0


def _by_tumour(places: Sequence[Place], bit: int) -> tuple[list[Place], list[Place]]:
    """The slices that show a structure, and the others."""
    sides: tuple[list[Place], list[Place]] = [], []
    for study, index in places:
        sides[not (study.flags[index] & bit).any()].append((study, index))
    return sides


def _shows_head(flags: UInt8Array) -> bool:
    return int(((flags & store.HEAD) > 0).sum()) >= MIN_HEAD_PX


def _shows_brain(study: StoredStudy, index: int) -> bool:
    """Whether metastases can be drawn into a slice."""
    return shows_enough_brain((study.flags[index] & store.BRAIN) > 0, study.spacing_mm[1])


def _choice(places: list[Place], random: Random) -> Place:
    return places[random.integers(len(places))]


def _first(preferred: list[Place], others: list[Place], *, prefer: bool) -> list[Place]:
    """The preferred pool or the other, never an empty one."""
    return preferred if preferred and (prefer or not others) else others


def _around(centre: float, side: int, length: int) -> slice:
    start = int(np.clip(centre - side / 2, 0, max(0, length - side)))
    return slice(start, start + side)


def _truth(planes: UInt8Array) -> Float32Array:
    """The core and the weights of its pixels."""
    core, unknown = np.moveaxis(planes.astype(np.float32) / 255, -1, 0)
    return np.stack([core, (unknown < MAX_UNKNOWN) * _weights(core)])


def _weights(share: Float32Array) -> Float32Array:
    """Weights that give a small lesion a larger part of the loss, after blob loss (Kofler et al., IPMI 2023)."""
    _, labels, figures, _ = cv2.connectedComponentsWithStats((share >= 0.5).astype(np.uint8))
    of_lesions = (EVEN_AREA_PX / np.maximum(figures[:, cv2.CC_STAT_AREA], 1)) ** EVEN_POWER
    weights = np.asarray(of_lesions.clip(1, MAX_WEIGHT), np.float32)
    weights[0] = 1
    by_pixel: Float32Array = weights[labels]
    return by_pixel
