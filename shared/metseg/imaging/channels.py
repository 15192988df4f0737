"""The sequences of a study, and the channels that they are stored in."""

import numpy as np

from metseg.contracts import Role
from metseg.imaging.arrays import Array

__all__ = [
    "CHANNELS",
    "FLAIR",
    "MISSING_SEQUENCE",
    "POST",
    "PRE",
    "ROLES",
    "SEQUENCE_NAMES",
    "Present",
    "present_sequences",
]

Present = tuple[bool, bool, bool]
"""Which of pre, FLAIR and post a study has."""

SEQUENCE_NAMES: dict[Role, str] = {"pre": "pre-contrast", "flair": "FLAIR", "post": "post-contrast"}
"""What people call each sequence, in the order of the channels."""
ROLES: tuple[Role, ...] = tuple(SEQUENCE_NAMES)
CHANNELS = tuple(SEQUENCE_NAMES.values())
PRE, FLAIR, POST = range(len(ROLES))
"""The channel of each sequence."""
MISSING_SEQUENCE = "missing"
"""In place of what a channel was made from."""


def present_sequences(pixels: Array) -> Present:
    """Which of pre, FLAIR and post are neither constant nor copies of FLAIR.

    In the public data, as in grey images, a missing sequence is a copy.

    Args:
        pixels: (..., channel).
    """
    pre, flair, post = (
        bool(pixels[..., channel].min() < pixels[..., channel].max())
        and (channel == FLAIR or not np.array_equal(pixels[..., channel], pixels[..., FLAIR]))
        for channel in range(len(CHANNELS))
    )
    return pre, flair, post
