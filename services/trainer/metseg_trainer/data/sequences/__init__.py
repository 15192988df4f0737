"""Slices and examples for the classifier of sequences.

- `pool`: slices of public data and phantoms, cropped to the head.
- `impostors`: imitations of T2 and of other pictures.
- `examples`: heads in slices as they are, stripped of their skull, and distorted.
"""

from metseg_trainer.data.sequences.examples import Example, make_examples
from metseg_trainer.data.sequences.pool import HeadSlice, glioma_slices, phantom_slices, post_contrast_slices

__all__ = [
    "Example",
    "HeadSlice",
    "glioma_slices",
    "make_examples",
    "phantom_slices",
    "post_contrast_slices",
]
