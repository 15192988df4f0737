"""Volume: the pixels of one study and what is known of their place in the patient."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from metseg.contracts import Alignment, Grid, Role
from metseg.errors import UnusableImage

CHANNELS = ("pre-contrast", "FLAIR", "post-contrast")
MIN_SIDE_PX = 16


@dataclass(frozen=True, eq=False)
class Volume:
    """The slices of one study in anatomical order.

    Attributes:
        pixels: uint8, uint16 or float32, (slice, row, column, channel); the channels are `CHANNELS`.
        names: one stem a slice, unique; the artefacts of a slice carry it.
        spacing_mm: between slices, rows and columns; None where the format stores none.
        affine: float64, (4, 4), from (column, row, slice) indices to patient millimetres (RAS+, as NIfTI
            has it); None where the format stores none.
        source: the format that the study came in, e.g. `png`, `tiff`, `zip`.
        warnings: sentences for the reader of the result, without patient data.
        sequences: what became which channel, in words without identifiers; empty for slices.
        alignment: how far each volume was moved onto the one that the study lies on.
        grid: the way back to the order of the uploaded volume; None where the slices came in this order.
        origin: what the format keeps in order to write results of its own kind; nobody else looks into it.

    Raises:
        UnusableImage: a side is shorter than 16 pixels, a value is not finite, or all values are equal.
        ValueError: the shapes contradict each other (a bug of the caller).
    """

    pixels: npt.NDArray[np.generic]
    names: tuple[str, ...]
    spacing_mm: tuple[float, float, float] | None = None
    affine: npt.NDArray[np.float64] | None = None
    source: str = "array"
    warnings: tuple[str, ...] = field(default=())
    sequences: Mapping[Role, str] = field(default_factory=dict)
    alignment: tuple[Alignment, ...] = ()
    grid: Grid | None = None
    origin: object = None

    def __post_init__(self) -> None:
        """Refuse what no later step could use."""
        if self.pixels.ndim != 4 or self.pixels.shape[3] != len(CHANNELS):
            raise ValueError(f"pixels must be (slice, row, column, 3), not {self.pixels.shape}")
        if len(self.names) != len(self.pixels) or len(set(self.names)) != len(self.names):
            raise ValueError("every slice needs a name of its own")
        if min(self.pixels.shape[1:3]) < MIN_SIDE_PX:
            raise UnusableImage(f"A slice must be at least {MIN_SIDE_PX} pixels high and wide; upload the whole slice.")
        if self.pixels.dtype.kind == "f" and not np.isfinite(self.pixels).all():
            raise UnusableImage("The image holds values that are not finite (NaN or infinity); export it again.")
        if self.pixels.min() == self.pixels.max():
            raise UnusableImage("All pixels of the study have the same value; upload slices that show a head.")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Slices, rows and columns."""
        slices, rows, columns, _ = self.pixels.shape
        return slices, rows, columns

    def part(self, slices: slice) -> "Volume":
        """Some of the slices, as a view.

        Raises:
            UnusableImage: all their pixels are equal.
        """
        affine = self.affine
        if affine is not None and slices.start:
            affine = affine.copy()
            affine[:3, 3] += slices.start * affine[:3, 2]
        return replace(self, pixels=self.pixels[slices], names=self.names[slices], affine=affine, grid=None)

    def lone_slices(self) -> Iterator["Volume | None"]:
        """Each slice as a study of its own, None where its pixels are all equal."""
        for index, (slice_pixels, name) in enumerate(zip(self.pixels, self.names, strict=True)):
            if slice_pixels.min() == slice_pixels.max():
                yield None
            else:
                yield replace(self, pixels=self.pixels[index : index + 1], names=(name,), grid=None)
