"""Data sets of head phantoms in any layout, for tests and trials, without any person's data."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from tqdm import tqdm

from metseg import phantom
from metseg.errors import DatasetError
from metseg_trainer.data.phantom_layouts import LAYOUT_WRITERS

__all__ = ["PHANTOM_LAYOUTS", "SITES", "write_phantoms"]

# Three sites with different slice distances and pixels, as in the public data; in mm, for heads of the usual 24 slices
# of 256 x 256.
SITES: dict[str, tuple[float, float, float]] = {
    "P1": (5.0, 0.9, 0.9),
    "P2": (4.0, 0.8, 0.8),
    "P3": (6.0, 1.0, 1.0),
}
USUAL_SLICES, USUAL_SIZE_PX = 24, 256
PUBLIC = "public"
PHANTOM_LAYOUTS = (PUBLIC, *LAYOUT_WRITERS)


def write_phantoms(
    folder: Path,
    patients: int = 12,
    seed: int = 0,
    *,
    layout: str = PUBLIC,
    slices: int = USUAL_SLICES,
    size_px: int = USUAL_SIZE_PX,
) -> None:
    """Write phantoms of three clinics.

    Args:
        folder: absent or empty.
        layout: `public`, which is `PHANTOM_<site>_<number>/PHANTOM_<site>_<number>_<n>.tif` and `..._<n>_mask.tif`,
            or one of `LAYOUT_WRITERS`.
        patients: how many heads.
        seed: the same seed writes the same bytes.
        slices: of each head; fewer are farther apart.
        size_px: rows and columns; fewer are larger.

    Raises:
        DatasetError: the folder is not empty, or cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise DatasetError(f"{folder} is not empty; name a new folder for the phantoms.")
        seeds = np.random.SeedSequence(seed).generate_state(patients)
        for number in tqdm(range(patients), desc="Drawing phantoms", unit="patient", disable=None):
            WRITERS[layout](folder, number + 1, _head(number, int(seeds[number]), slices, size_px))
    except OSError as error:
        raise DatasetError(f"The phantoms cannot be written to {folder} ({error.strerror}).") from error


def _head(number: int, seed: int, slices: int, size_px: int) -> phantom.Phantom:
    between, row, column = SITES[_site(number + 1)]
    spacing_mm = (between * USUAL_SLICES / slices, row * USUAL_SIZE_PX / size_px, column * USUAL_SIZE_PX / size_px)
    try:
        return phantom.head(seed, slices=slices, size_px=size_px, spacing_mm=spacing_mm)
    except ValueError:  # on a coarse grid there may be no room for all lesions
        return phantom.head(seed, slices=slices, size_px=size_px, spacing_mm=spacing_mm, lesions=1)


def _site(number: int) -> str:
    return sorted(SITES)[(number - 1) % len(SITES)]


def _write_public(folder: Path, number: int, head: phantom.Phantom) -> None:
    name = f"PHANTOM_{_site(number)}_{number:04d}"
    (folder / name).mkdir()
    for index, (pixels, lesion) in enumerate(zip(head.volume.pixels, head.mask, strict=True), start=1):
        _save(pixels, folder / name / f"{name}_{index}.tif")
        _save(lesion.astype(np.uint8) * np.uint8(255), folder / name / f"{name}_{index}_mask.tif")


def _save(pixels: npt.NDArray[np.generic], path: Path) -> None:
    Image.fromarray(pixels).save(path, compression="tiff_adobe_deflate")


WRITERS = {PUBLIC: _write_public, **LAYOUT_WRITERS}
