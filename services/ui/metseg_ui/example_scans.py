"""Example scans: synthetic heads with lesions, for visitors without data. They contain no patient data.

The image has their files, drawn while it was built (`python -m metseg_ui.example_scans FOLDER`), and so does without
OpenCV and SciPy, which draw them. Elsewhere they are drawn on use.
"""

import gzip
import sys
from pathlib import Path
from typing import NamedTuple

import nibabel
import numpy as np

from metseg.contracts import Role
from metseg.imaging import FLAIR, ROLES, Float64Array, UInt8Array

FOLDER = Path(__file__).parents[1] / "examples"
SLICES = 16


class Example(NamedTuple):
    """A synthetic head that is one click away."""

    title: str
    description: str
    seed: int
    lesions: int


class ExampleScan(NamedTuple):
    """The files of an example, and a picture of it.

    Attributes:
        volumes: gzipped NIfTI by role.
        preview: a PNG of the FLAIR slice with the largest lesion area, or of the middle one.
    """

    volumes: dict[Role, bytes]
    preview: bytes


EXAMPLES = (
    Example("One large lesion", "A single mass surrounded by oedema.", seed=47, lesions=1),
    Example("Many small lesions", "Typical of metastases: several, some only a few pixels wide.", seed=60, lesions=9),
    Example("No lesion", "A head without lesions: whatever the model marks here is wrong.", seed=31, lesions=0),
)


def find(example: Example, folder: Path = FOLDER) -> ExampleScan:
    """An example's files.

    Args:
        example: one of `EXAMPLES`.
        folder: where `write` put its files; they are drawn if there is no such folder.

    Returns:
        The same bytes in either case, from the same libraries.
    """
    if not folder.is_dir():
        return draw(example)
    volumes = {role: (folder / f"{example.seed}-{role}.nii.gz").read_bytes() for role in ROLES}
    return ExampleScan(volumes, (folder / f"{example.seed}.png").read_bytes())


def write(folder: Path) -> None:
    """Draw all examples into a new folder."""
    folder.mkdir()
    for example in EXAMPLES:
        scan = draw(example)
        (folder / f"{example.seed}.png").write_bytes(scan.preview)
        for role, content in scan.volumes.items():
            (folder / f"{example.seed}-{role}.nii.gz").write_bytes(content)


def draw(example: Example) -> ExampleScan:
    """Draw an example; the same seed gives the same pixels."""
    from metseg import phantom  # not in the image, see above
    from metseg.imaging import encode_png

    head = phantom.head(example.seed, slices=SLICES, lesions=example.lesions)
    pixels = np.asarray(head.volume.pixels, np.uint8)
    areas = head.mask.sum(axis=(1, 2))
    best = int(areas.argmax()) if areas.any() else SLICES // 2
    volumes = {role: _nifti(pixels[..., channel], head.volume.affine) for channel, role in enumerate(ROLES)}
    return ExampleScan(volumes, encode_png(pixels[best, ..., FLAIR]))


def _nifti(pixels: UInt8Array, affine: Float64Array | None) -> bytes:
    image = nibabel.Nifti1Image(pixels.T, affine)  # type: ignore[no-untyped-call]
    return gzip.compress(image.to_bytes(), mtime=0)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
