"""Split: patient ids by side, and its file split.json."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from metseg.atomic_io import atomic_write_bytes
from metseg.errors import DatasetError

__all__ = ["SPLIT", "Split", "read_split", "split_sha256", "write_split"]

SPLIT = "split.json"


@dataclass(frozen=True)
class Split:
    """Patient ids by side, each side sorted."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]


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
