"""The classifier of sequences: what it sees of a slice, and its network.

The network, `sequence_model.onnx`, is part of the release; `metseg-trainer sequences` makes a new one. docs/results.md
says how often it is right.
"""

from functools import cache
from importlib.resources import files
from typing import Literal

import cv2
import numpy as np
from pydantic import Field

from metseg.contracts import StrictContract
from metseg.imaging import Array, Float32Array, Float64Array, bounding_box, foreground_mask
from metseg.inference.predictor import cpu_session

__all__ = ["SEQUENCE_CLASSES", "SequenceClass", "SequenceModel", "SequenceModelCard", "extract_head"]

SequenceClass = Literal["pre", "flair", "post", "t2", "other"]
SEQUENCE_CLASSES: tuple[SequenceClass, ...] = ("pre", "flair", "post", "t2", "other")

FILE = "sequence_model.onnx"
SIDE_PX = 128
"""The side of what the network sees, and so the longer one of a head."""
SEARCH_PX = 256
"""The longer side of a slice in which the head is searched."""
MIN_HEAD_SHARE, MIN_SIDE_PX = 0.03, 16
"""Of the foreground of a slice: a smaller one is no head."""
RANGE = (-6.0, 6.0)
"""Of intensities after normalisation."""
NORMAL_DEVIATIONS = 1.349
"""The distance between the quartiles of a normal distribution."""
MIN_DEVIATION = 0.01
"""Of a head's brightness, as a share of the brightest: flatter ones are not amplified further."""


class SequenceModelCard(StrictContract):
    """What is stored in the ONNX file of a classifier.

    A slice, or a study by the scores of some slices, is recognised if its likeliest class reaches the limit.
    """

    revision: Literal[2] = 2
    classes: tuple[SequenceClass, ...] = SEQUENCE_CLASSES
    slice_limit: float = Field(gt=0, le=1)
    study_limit: float = Field(gt=0, le=1)
    data: list[str] = Field(description="what it was trained on, with its licence")


class SequenceModel:
    """A classifier of sequences.

    Args:
        model: an ONNX file from heads, float32 (slice, 1, row, column), to scores, float32 (slice, class), with a
            `SequenceModelCard` in its metadata.

    Attributes:
        CARD_KEY: of the card in the file's metadata.
        INPUT_PX: rows and columns of a head.
        card: its limits, and what it was trained on.
    """

    CARD_KEY = "metseg.card"
    INPUT_PX = (SIDE_PX, SIDE_PX)

    def __init__(self, model: bytes) -> None:
        self._session = cpu_session(model)
        self.card = SequenceModelCard.model_validate_json(
            self._session.get_modelmeta().custom_metadata_map[self.CARD_KEY]
        )

    @classmethod
    @cache
    def bundled(cls) -> "SequenceModel":
        """The one of this release."""
        return cls((files(__package__) / FILE).read_bytes())

    def log_probabilities(self, heads: Float32Array) -> Float64Array:
        """The logarithm of the probability of each class.

        Args:
            heads: as `extract_head` gives them, (slice, row, column).

        Returns:
            float64, (slice, class), in the order of `SEQUENCE_CLASSES`.
        """
        [scores] = self._session.run(None, {self._session.get_inputs()[0].name: heads[:, np.newaxis]})
        scores = np.asarray(scores, np.float64) - np.max(scores, axis=1, keepdims=True)
        logarithms: Float64Array = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
        return logarithms


def extract_head(grey: Array) -> Float32Array | None:
    """The head in a slice, scaled to one size and one range of intensities: what the classifier sees.

    Args:
        grey: (row, column), of any number type.

    Returns:
        float32, (128, 128): the head in the middle, 0 its median, 1 its deviation by quartiles; None where nothing
        stands out from the background.
    """
    small = _scaled(grey.astype(np.float32), SEARCH_PX, enlarge=False)
    low, high = np.percentile(small, (0, 99.5))
    if high <= low:
        return None
    levels = np.rint(((small - low) / (high - low)).clip(0, 1) * 255).astype(np.uint8)
    mask = foreground_mask(levels[np.newaxis])[0]
    if mask.mean() < MIN_HEAD_SHARE:
        return None
    box = bounding_box(mask)
    cropped = _scaled((small[box] - low) / (high - low), SIDE_PX, enlarge=True)
    if min(cropped.shape) < MIN_SIDE_PX:
        return None
    inside = cv2.resize(mask[box].astype(np.uint8), cropped.shape[::-1], interpolation=cv2.INTER_NEAREST) > 0
    quartile_1, median, quartile_3 = np.percentile(cropped[inside], (25, 50, 75))
    deviation = max(float(quartile_3 - quartile_1) / NORMAL_DEVIATIONS, MIN_DEVIATION)
    normalised = ((cropped - median) / deviation).clip(*RANGE)
    framed = np.full(SequenceModel.INPUT_PX, normalised.min(), np.float32)
    top, left = ((SIDE_PX - side) // 2 for side in normalised.shape)
    framed[top : top + normalised.shape[0], left : left + normalised.shape[1]] = normalised
    return framed


def _scaled(grey: Array, side_px: int, *, enlarge: bool) -> Float32Array:
    factor = side_px / max(grey.shape)
    if factor >= 1 and not enlarge:
        return np.asarray(grey, np.float32)
    size = max(1, round(grey.shape[1] * factor)), max(1, round(grey.shape[0] * factor))
    return np.asarray(
        cv2.resize(grey, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR), np.float32
    )
