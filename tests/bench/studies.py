"""Studies that benches upload: phantoms and noise as ZIPs of PNGs, phantoms as NIfTI volumes."""

import io
import zipfile
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
from tests.unit.volumes import nifti

from metseg import phantom
from metseg.imaging import encode_png

__all__ = ["SLICES", "archive", "heavy", "study_file", "volume_files"]

SLICES = 30
"""Slices of the usual study."""


def archive(slices: int, rows: int, seed: int = 5) -> bytes:
    """A ZIP of a phantom's slices; a long series repeats some."""
    few = phantom.head(seed, slices=min(slices, 40), size_px=rows).volume.pixels
    return _packed(few[index * len(few) // slices] for index in range(slices))


def heavy(megabytes: int) -> bytes:
    """A ZIP of incompressible noise slices, 0.8 MB each."""
    noise = np.random.default_rng(0)
    return _packed(
        noise.integers(0, 256, (512, 512, 3), dtype=np.uint8) for _ in range(max(1, round(megabytes / 0.79)))
    )


def study_file(slices: int, seed: int) -> tuple[str, bytes]:
    """A file as `Client.submit` accepts it."""
    return "study.zip", archive(slices, 256, seed)


def volume_files(pixels: npt.NDArray[np.uint8], affine: npt.NDArray[np.float64]) -> list[tuple[str, bytes]]:
    """Three NIfTI volumes of 16 bits, from (slice, row, column, channel), as `Client.submit` accepts them."""
    names = ("t1", "flair", "t1c")
    return [
        (f"{name}.nii.gz", nifti(pixels[..., channel].transpose(2, 1, 0).astype(np.int16), affine))
        for channel, name in enumerate(names)
    ]


def _packed(slices: Iterable[npt.NDArray[np.uint8]]) -> bytes:
    """Slices as a ZIP of PNGs."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as file:
        for index, pixels in enumerate(slices):
            file.writestr(f"s_{index:04d}.png", encode_png(pixels))
    return target.getvalue()
