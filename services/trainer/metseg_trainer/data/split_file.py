"""Split: patient ids by side, and its file split.json."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, astuple, dataclass
from itertools import chain
from pathlib import Path

from metseg.atomic_io import atomic_write_bytes
from metseg.errors import DatasetError

__all__ = ["SPLIT", "Split", "check_unseen", "read_split", "split_sha256", "write_split"]

SPLIT = "split.json"


@dataclass(frozen=True)
class Split:
    """Patient ids by side, each side sorted."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]

    @classmethod
    def joined(cls, parts: Iterable["Split"]) -> "Split":
        """The split of several sets of patients."""
        sides = zip(*map(astuple, parts), strict=True)
        return cls(*(tuple(sorted(chain.from_iterable(each))) for each in sides))


def write_split(split: Split, path: Path) -> None:
    """Write split.json.

    Args:
        split: to write.
        path: of the file, which is replaced atomically.
    """
    atomic_write_bytes(path, _bytes(split))


def read_split(path: Path) -> Split:
    """Read split.json.

    Raises:
        DatasetError: the file is not a split.
    """
    try:
        content: Mapping[str, list[str]] = json.loads(path.read_bytes())
        sides = {side: tuple(map(str, content[side])) for side in ("train", "validation", "test")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{path} is not a split that metseg has written; remove it to split again.") from error
    return Split(**sides)


def split_sha256(split: Split) -> str:
    """The sha256 of split.json."""
    return hashlib.sha256(_bytes(split)).hexdigest()


def _bytes(split: Split) -> bytes:
    return (json.dumps(asdict(split), indent=2) + "\n").encode()


def check_unseen(start: Path, split: Split) -> None:
    """Refuse to continue networks that were trained on patients of the current test or validation side.

    Args:
        start: folder of the training that is continued.
        split: of the new one.

    Raises:
        DatasetError: it was, or its split cannot be read.
    """
    learned = set(read_split(start / SPLIT).train)
    if overlap := learned & {*split.test, *split.validation}:
        raise DatasetError(f"The run in {start} was trained on patients that this one is evaluated on: {len(overlap)}.")
