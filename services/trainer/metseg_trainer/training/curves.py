"""Curves: what a training has come to, epoch by epoch, as JSON for the report and as events for TensorBoard."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from torch.utils.tensorboard import SummaryWriter

from metseg_trainer.training.checkpoints import write_bytes

__all__ = ["CURVES", "Curves", "Row"]

CURVES: Final = "curves.json"
Row = dict[str, float]
_SHOWN = {
    "train_loss": "loss/train",
    "val_loss": "loss/validation",
    "val_dice": "Dice/validation",
    "lr": "learning rate",
}


class Curves:
    """One row an epoch; what a resumed training does anew takes the place of what it had done.

    Args:
        folder: for `curves.json` and the event files.
        rows: of the epochs that are done.
    """

    def __init__(self, folder: Path, rows: Sequence[Row]) -> None:
        self.rows = list(rows)
        self._path = folder / CURVES
        self._events = SummaryWriter(str(folder), purge_step=len(rows) + 1)

    def add(self, row: Row) -> None:
        """The row of an epoch that has ended, in both files."""
        self.rows.append(row)
        write_bytes(json.dumps(self.rows, indent=1).encode(), self._path)
        for figure, title in _SHOWN.items():
            self._events.add_scalar(title, row[figure], int(row["epoch"]))
        self._events.flush()

    def close(self) -> None:
        """End the event file."""
        self._events.close()
