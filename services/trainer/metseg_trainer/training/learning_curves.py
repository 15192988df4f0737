"""Learning curves: loss, Dice and learning rate of each epoch, as JSON for the report and as events for TensorBoard."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from torch.utils.tensorboard import SummaryWriter

from metseg.atomic_io import atomic_write_bytes

__all__ = ["CURVES", "LearningCurves", "Row", "read_learning_curves"]

CURVES: Final = "curves.json"
Row = dict[str, float]
_TENSORBOARD_TAGS = {
    "train_loss": "loss/train",
    "val_loss": "loss/validation",
    "val_dice": "Dice/validation",
    "lr": "learning rate",
}


class LearningCurves:
    """One row per epoch; a resumed training replaces the rows that it repeats.

    Args:
        folder: for `curves.json` and the event files.
        rows: of the finished epochs.
    """

    def __init__(self, folder: Path, rows: Sequence[Row]) -> None:
        self.rows = list(rows)
        self._path = folder / CURVES
        self._events = SummaryWriter(str(folder), purge_step=len(rows) + 1)

    def add(self, row: Row) -> None:
        """Append an epoch to both files."""
        self.rows.append(row)
        atomic_write_bytes(self._path, json.dumps(self.rows, indent=1).encode())
        for key, tag in _TENSORBOARD_TAGS.items():
            self._events.add_scalar(tag, row[key], int(row["epoch"]))
        self._events.flush()

    def close(self) -> None:
        """End the event file."""
        self._events.close()


def read_learning_curves(folder: Path) -> list[Row]:
    """The rows of a network's folder; none if no epoch has ended."""
    path = folder / CURVES
    rows: list[Row] = json.loads(path.read_text()) if path.exists() else []
    return rows
