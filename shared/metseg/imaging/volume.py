"""Volume: the pixels of one study and what is known of their position in the patient."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from metseg.contracts import Alignment, Grid, IdentifiedSequence, Role
from metseg.errors import UnusableImage
from metseg.imaging.arrays import Affine, Array, Shape, Spacing
from metseg.imaging.channels import CHANNELS, Present

__all__ = ["MIN_SIDE_PX", "Volume"]

MIN_SIDE_PX = 16


@dataclass(frozen=True, eq=False)
class Volume:
    """The slices of one study in anatomical order.

    Attributes:
        pixels: uint8, uint16 or float32, (slice, row, column, channel); the channels are `CHANNELS`. If all are the
            same sequence they share its memory and cannot be written.
        names: one stem per slice, unique; names the artefacts of that slice.
        spacing_mm: between slices, rows and columns; None where the format stores none.
        affine: from (column, row, slice) indices to patient millimetres (RAS+, as in NIfTI); None where the format
            stores none.
        source: the format that the study came in, e.g. `png`, `tiff`, `zip`.
        warnings: sentences for the reader of the result, without patient data.
        sequences: what each channel was made from, described without identifiers; empty for slices.
        alignment: how far each volume was moved onto the reference one.
        grid: how to restore the voxel order of the upload; None where the slices came in this order.
        identified: what decided which sequence each image is; empty where nothing did, for a study of one grey image.
        present: which channels hold a separate sequence; the others hold a copy of one.
        origin: what the format needs to write results in the same format; private to it.

    Raises:
        UnusableImage: a side is shorter than 16 pixels, a value is not finite, or all values are equal.
        ValueError: the shapes contradict each other (a bug in the caller).
    """

    pixels: Array
    names: tuple[str, ...]
    spacing_mm: Spacing | None = None
    affine: Affine | None = None
    source: str = "array"
    warnings: tuple[str, ...] = field(default=())
    sequences: Mapping[Role, str] = field(default_factory=dict)
    alignment: tuple[Alignment, ...] = ()
    grid: Grid | None = None
    identified: Mapping[Role, IdentifiedSequence] = field(default_factory=dict)
    present: Present = (True, True, True)
    origin: object = None

    def __post_init__(self) -> None:
        """Refuse what no later step can use."""
        if self.pixels.ndim != 4 or self.pixels.shape[3] != len(CHANNELS):
            raise ValueError(f"pixels must be (slice, row, column, 3), not {self.pixels.shape}")
        if len(self.names) != len(self.pixels) or len(set(self.names)) != len(self.names):
            raise ValueError("slice names must be unique")
        if min(self.pixels.shape[1:3]) < MIN_SIDE_PX:
            raise UnusableImage(f"A slice must be at least {MIN_SIDE_PX} pixels high and wide; upload the whole slice.")
        if self.pixels.dtype.kind == "f" and not all(np.isfinite(one).all() for one in self.pixels):
            raise UnusableImage("The image holds values that are not finite (NaN or infinity); export it again.")
        if self.pixels.min() == self.pixels.max():
            raise UnusableImage("All pixels of the study have the same value; upload slices that show a head.")

    @property
    def shape(self) -> Shape:
        """Slices, rows and columns."""
        slices, rows, columns, _ = self.pixels.shape
        return slices, rows, columns

    def part(self, slices: slice) -> "Volume":
        """A range of the slices, as a view.

        Raises:
            UnusableImage: all their pixels are equal.
        """
        affine = self.affine
        if affine is not None and slices.start:
            affine = affine.copy()
            affine[:3, 3] += slices.start * affine[:3, 2]
        return replace(self, pixels=self.pixels[slices], names=self.names[slices], affine=affine, grid=None)

    def single_slices(self) -> Iterator["Volume | None"]:
        """Each slice as a separate study; None where its pixels are all equal."""
        for index, slice_pixels in enumerate(self.pixels):
            if slice_pixels.min() == slice_pixels.max():
                yield None
            else:
                yield self.part(slice(index, index + 1))
