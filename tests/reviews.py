"""Stored answers of a model for tests of reviews: balls of smooth probability, as the store has them."""

import io
from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
from tests.models import tiny_card

from metseg.contracts import OperatingPoint, Result, Review, ReviewStamp
from metseg.imaging import Mask, Volume, label_lesions, lesions, select_components
from metseg.inference import Segmentation, StructureMap
from metseg.results import build_artefacts, build_result
from metseg.results.review import ModelAnswer, ReviewedAnswer, apply_review, read_model_answer

SHAPE = (6, 24, 28)
SPACING_MM = (3.0, 1.0, 1.5)
STAMP = ReviewStamp(number=1, reviewed_by="ward-3", reviewed_at=datetime(2026, 1, 2, tzinfo=UTC))
THREE = (((1, 6, 6), 4.0), ((2, 16, 20), 3.5), ((4, 5, 21), 3.0))
"""Centres, and radii in pixels at which the probability is 0.5: three lesions apart from each other."""


def ball_probability(balls: Sequence[tuple[tuple[int, int, int], float]], shape=SHAPE) -> np.ndarray:
    """float32, (slice, row, column): decreases from each centre, 0.5 at the radius."""
    grid = np.indices(shape).astype(np.float32)
    probability = np.full(shape, 0.02, np.float32)
    for centre, radius in balls:
        along = [(axis - at) * side for axis, at, side in zip(grid, centre, (2.0, 1.0, 1.0), strict=True)]
        distance = np.sqrt(sum(each**2 for each in along))
        probability = np.maximum(probability, 1 / (1 + np.exp((distance - radius) / 0.8)).astype(np.float32))
    return probability


def answered(
    core: np.ndarray | None, whole: np.ndarray, spacing_mm=SPACING_MM
) -> tuple[Volume, Segmentation, Result, dict[str, bytes]]:
    """The answer to a study with these probability maps, and the artefacts that the worker stores."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (*whole.shape, 3)).astype(np.uint8)
    affine = None if spacing_mm is None else np.diag([*spacing_mm[::-1], 1.0])
    volume = Volume(pixels, tuple(f"slice_{index}" for index in range(len(pixels))), spacing_mm, affine)
    maps = {"whole": whole} if core is None else {"core": core, "whole": whole}
    structures = {name: StructureMap(one, _mask(one), OperatingPoint(), 0) for name, one in maps.items()}
    structure = "whole" if core is None else "core"
    if core is not None:
        structures["whole"].mask[...] |= structures["core"].mask
    found = lesions.measure(
        structures[structure].mask, spacing_mm, maps[structure], affine, choose_targets=structure == "core"
    )
    if core is not None:
        labels = label_lesions(structures["core"].mask)
        found = lesions.measure_surroundings(found, labels, structures["whole"].mask, spacing_mm)
    segmentation = Segmentation(structures, structure, found, ())
    result = build_result("0" * 32, volume, segmentation, tiny_card(b"model"), {})
    return volume, segmentation, result, build_artefacts(volume, segmentation)


def model_answer(
    balls=THREE, *, with_core: bool = True, review: Review | None = None, spacing_mm=SPACING_MM
) -> ModelAnswer:
    """The answer as it is read from the store; the whole reaches 2 pixels farther than the core."""
    core = ball_probability(balls)
    whole = ball_probability([(centre, radius + 2) for centre, radius in balls])
    _, _, result, artefacts = answered(core if with_core else None, whole, spacing_mm)
    every_map = Review(thresholds={"core": 0.5, "whole": 0.5})
    return read_model_answer(result, every_map, lambda name: io.BytesIO(artefacts[name]))


def reviewed(answer: ModelAnswer, **fields: object) -> ReviewedAnswer:
    """The answer after a review with these fields."""
    return apply_review(answer, Review.model_validate(fields), STAMP)


def runs_of(mask: Mask) -> list[int]:
    """The voxels of a mask as runs."""
    edges = np.flatnonzero(np.diff(mask.ravel(), prepend=False, append=False)).reshape(-1, 2)
    return [int(number) for first, stop in edges for number in (first, stop - first)]


def _mask(probability: np.ndarray) -> Mask:
    return select_components(2 * (probability >= 0.5).astype(np.uint8))
