"""A data set of head phantoms in the layout of the public one, for tests and trials; it shows no person."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from tqdm import tqdm

from metseg import phantom
from metseg.errors import DatasetError

__all__ = ["SITES", "write_phantoms"]

# Three sites with different slice distances and pixels, as in the public data; in mm, for heads of the usual 24 slices
# of 256 x 256.
SITES: dict[str, tuple[float, float, float]] = {
    "P1": (5.0, 0.9, 0.9),
    "P2": (4.0, 0.8, 0.8),
    "P3": (6.0, 1.0, 1.0),
}
USUAL_SLICES, USUAL_SIZE_PX = 24, 256


def write_phantoms(folder: Path, patients: int = 12, seed: int = 0, slices: int = 24, size_px: int = 256) -> list[str]:
    """Write phantoms as `PHANTOM_<site>_<number>/PHANTOM_<site>_<number>_<n>.tif` beside `..._<n>_mask.tif`.

    Args:
        folder: absent or empty.
        patients: how many heads.
        seed: the same seed writes the same bytes.
        slices: of each head; fewer are farther apart.
        size_px: rows and columns; fewer are larger.

    Returns:
        The ids of the patients.

    Raises:
        DatasetError: the folder is not empty, or cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise DatasetError(f"{folder} is not empty; name a new folder for the phantoms.")
        seeds = np.random.SeedSequence(seed).generate_state(patients)
        return [
            _write_patient(folder, number, int(seeds[number]), slices, size_px)
            for number in tqdm(range(patients), desc="Drawing phantoms", unit="patient", disable=None)
        ]
    except OSError as error:
        raise DatasetError(f"The phantoms cannot be written to {folder} ({error.strerror}).") from error


def _write_patient(folder: Path, number: int, seed: int, slices: int, size_px: int) -> str:
    site = sorted(SITES)[number % len(SITES)]
    name = f"PHANTOM_{site}_{number + 1:04d}"
    between, row, column = SITES[site]
    spacing_mm = (between * USUAL_SLICES / slices, row * USUAL_SIZE_PX / size_px, column * USUAL_SIZE_PX / size_px)
    try:
        head = phantom.head(seed, slices=slices, size_px=size_px, spacing_mm=spacing_mm)
    except ValueError:  # on a coarse grid there may be no room for all the lesions that were drawn
        head = phantom.head(seed, slices=slices, size_px=size_px, spacing_mm=spacing_mm, lesions=1)
    (folder / name).mkdir()
    for index, (pixels, lesion) in enumerate(zip(head.volume.pixels, head.mask, strict=True), start=1):
        _save(pixels, folder / name / f"{name}_{index}.tif")
        _save(lesion.astype(np.uint8) * np.uint8(255), folder / name / f"{name}_{index}_mask.tif")
    return name


def _save(pixels: npt.NDArray[np.generic], path: Path) -> None:
    Image.fromarray(pixels).save(path, compression="tiff_adobe_deflate")
