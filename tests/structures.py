"""Phantoms for the training of core and whole: a stored head, and a folder in BRISC's layout."""

import csv
from pathlib import Path

import numpy as np
from PIL import Image

from metseg import phantom
from metseg.imaging import Present
from metseg_trainer.data.structures import StoredStudy, StructureDataset, StructureSamplingConfig, store


def stored_head(source: str, present: Present, slices: int = 1) -> StoredStudy:
    """A disc of brain with noise, in a ring of scalp."""
    rows, columns = np.ogrid[:192, :176]
    distance = np.hypot(rows - 96, columns - 88)
    brain, scalp = distance < 70, (distance > 76) & (distance < 84)
    noise = np.random.default_rng(0).normal(0, 3, (slices, 192, 176))
    grey = (brain * 90 + scalp * 200 + noise * (distance < 84)).clip(0, 255)
    pixels = np.repeat(grey[..., None], 3, -1).astype(np.uint8) * np.array(present, np.uint8)
    flags = np.broadcast_to(brain * store.BRAIN + (distance < 84) * store.HEAD, grey.shape).astype(np.uint8)
    return StoredStudy("phantom", source, present, (5.0, 0.9, 0.9), None, None, pixels, flags)


def stored_studies() -> tuple[list[StoredStudy], list[StoredStudy]]:
    """A glioma patient whose core is unknown, and two single slices whose whole is."""
    glioma = stored_head("lgg", (True, True, True), slices=3)
    glioma.flags[1, 80:100, 80:100] |= store.WHOLE | store.CORE_UNKNOWN
    single = [stored_head(f"brisc-{plane}", (False, False, True)) for plane in ("axial", "coronal")]
    for study in single:
        study.flags[...] |= store.WHOLE_UNKNOWN
        study.flags[0, 90:110, 60:80] |= store.CORE
        study.pixels[0, 90:110, 60:80, 2] = 180
    return [glioma], single


def structure_dataset(sampling: StructureSamplingConfig, augmentation, patch_px: int = 96) -> StructureDataset:
    """Samples of `stored_studies`."""
    lgg, brisc = stored_studies()
    return StructureDataset(lgg, brisc, sampling, augmentation=augmentation, patch_size=(patch_px, patch_px), seed=0)


def write_brisc(folder: Path, slices: int = 3, size_px: int = 128) -> None:
    """Axial slices of post-contrast T1, as many on each side."""
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    with (folder / "index.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["name", "tumour", "plane", "side"])
        for number, side in enumerate(["train", "validation"] * slices):
            head = phantom.head(number, slices=6, size_px=size_px, spacing_mm=(20.0, 1.8, 1.8), lesions=1)
            index = int(head.mask.sum(axis=(1, 2)).argmax())
            name = f"slice_{number}"
            Image.fromarray(head.volume.pixels[index, ..., 2]).save(folder / "images" / f"{name}.png")
            Image.fromarray(head.mask[index].astype(np.uint8) * 255).save(folder / "masks" / f"{name}.png")
            writer.writerow([name, "glioma", "axial", side])
