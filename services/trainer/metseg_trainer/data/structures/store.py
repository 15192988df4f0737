"""Store: every training slice once, at model resolution, with the truth that is known, in memory-mapped files.

Slices are not normalised here: lesions are drawn into them first; percentiles, CLAHE and standardisation follow for
each sample, as in serving. Head and brain, which are slow to find, are computed once.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from metseg.atomic_io import atomic_write_bytes
from metseg.imaging import Present, UInt8Array

__all__ = [
    "BRAIN",
    "CORE",
    "CORE_UNKNOWN",
    "HEAD",
    "WHOLE",
    "WHOLE_UNKNOWN",
    "Normalisation",
    "StoredStudy",
    "read_store",
    "write_store",
]

CORE, WHOLE, CORE_UNKNOWN, WHOLE_UNKNOWN, BRAIN, HEAD = 1, 2, 4, 8, 16, 32
"""Bits of a study's `flags`."""
INDEX = "index.json"


@dataclass(frozen=True)
class Normalisation:
    """The normalisation of a study as in serving, by channel.

    Attributes:
        low: the low percentile of the head.
        high: the high percentile of the head.
        mean: of the head, after CLAHE.
        deviation: of the head, after CLAHE.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    mean: tuple[float, ...]
    deviation: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class StoredStudy:
    """A study, or a single slice, as stored.

    Attributes:
        patient: its id.
        source: `lgg`, `brisc-axial`, `brisc-coronal`, `brisc-sagittal` or `study`.
        present: which of pre, FLAIR and post it has; the pixels of a missing one are 0.
        spacing_mm: between slices, rows and columns.
        normalisation: with skull; None for a single slice.
        stripped_normalisation: without skull; None for a single slice or where no brain was found.
        pixels: uint8, (slice, row, column, channel).
        flags: uint8, (slice, row, column): the kinds of each pixel, as bits.
    """

    patient: str
    source: str
    present: Present
    spacing_mm: tuple[float, float, float]
    normalisation: Normalisation | None
    stripped_normalisation: Normalisation | None
    pixels: UInt8Array
    flags: UInt8Array


def write_store(studies: Iterable[StoredStudy], folder: Path) -> None:
    """Write a store: all pixels in one file, all flags in another, and last the index, which completes it.

    Args:
        studies: in the order in which they are read.
        folder: is created.
    """
    folder.mkdir(parents=True, exist_ok=True)
    index = []
    with (folder / "pixels.bin").open("wb") as pixels, (folder / "flags.bin").open("wb") as flags:
        for study in studies:
            pixels.write(np.ascontiguousarray(study.pixels).data)
            flags.write(np.ascontiguousarray(study.flags).data)
            index.append(
                {
                    "patient": study.patient,
                    "source": study.source,
                    "present": study.present,
                    "spacing_mm": study.spacing_mm,
                    "shape": study.flags.shape,
                    "normalisation": asdict(study.normalisation) if study.normalisation else None,
                    "stripped_normalisation": (
                        asdict(study.stripped_normalisation) if study.stripped_normalisation else None
                    ),
                }
            )
    atomic_write_bytes(folder / INDEX, json.dumps(index).encode())


def read_store(folder: Path) -> Sequence[StoredStudy] | None:
    """The studies of a store, their arrays memory-mapped; None if it is not complete."""
    if not (folder / INDEX).exists():
        return None
    rows = json.loads((folder / INDEX).read_text())
    if not rows:
        return []
    pixels = np.memmap(folder / "pixels.bin", np.uint8, "r")
    flags = np.memmap(folder / "flags.bin", np.uint8, "r")
    studies, begin = [], 0
    for row in rows:
        shape = tuple(row["shape"])
        end = begin + int(np.prod(shape))
        studies.append(
            StoredStudy(
                row["patient"],
                row["source"],
                tuple(row["present"]),
                tuple(row["spacing_mm"]),
                _normalisation(row["normalisation"]),
                _normalisation(row["stripped_normalisation"]),
                pixels[3 * begin : 3 * end].reshape(*shape, 3),
                flags[begin:end].reshape(shape),
            )
        )
        begin = end
    return studies


def _normalisation(row: dict[str, list[float]] | None) -> Normalisation | None:
    return Normalisation(**{name: tuple(values) for name, values in row.items()}) if row else None
