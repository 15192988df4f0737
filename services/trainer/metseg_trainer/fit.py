"""Fit: one network, one recipe, until it learns no more."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as lightning
import torch
from pytorch_lightning.callbacks import (
    Callback,
    EMAWeightAveraging,
    ModelCheckpoint,
    TQDMProgressBar,
)
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.utils.data import DataLoader

from metseg_trainer.evaluation.masks import dice
from metseg_trainer.losses import dice_bce, supervised
from metseg_trainer.networks import SegmentationNetwork, channels_last, create
from metseg_trainer.recipe import Recipe, Source
from metseg_trainer.samples import EpochSampler, Samples, Study

LAST, CURVES = "last.ckpt", "curves.json"


class Fitting(lightning.LightningModule):
    """A network with its loss, its schedule and its validation by patient."""

    def __init__(self, network: str, recipe: Recipe, validation: Sequence[Study]) -> None:
        super().__init__()
        self.save_hyperparameters({"network": network, "recipe": asdict(recipe)})
        self.recipe = recipe
        self._validation = validation
        self.network = channels_last(create(network, recipe.base_width))

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        """The loss of all supervised outputs."""
        slices, truth = batch
        loss = supervised(self.network.branches(slices.to(memory_format=torch.channels_last)), truth)
        self.log("train_loss", loss, on_step=False, on_epoch=True, prog_bar=True, sync_dist=True)
        return loss

    def validation_step(self, patient: int) -> None:
        """Loss and Dice of one patient, all its slices as one volume, in model pixels."""
        study = self._validation[patient]
        logits = torch.cat([self.network(_to_tensor(study, index, self.device)) for index in range(len(study.truth))])
        truth = torch.from_numpy(study.truth[:, None].astype(np.float32) / 255).to(self.device)
        score = dice((logits[:, 0] > 0).cpu().numpy(), study.truth >= 128)
        self.log("val_loss", dice_bce(logits.float(), truth), on_epoch=True, batch_size=1, sync_dist=True)
        self.log("val_dice", score, on_epoch=True, prog_bar=True, batch_size=1, sync_dist=True)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW under a one-cycle schedule with warm-up and cosine descent."""
        optimizer = torch.optim.AdamW(
            self.parameters(), lr=self.recipe.learning_rate, weight_decay=self.recipe.weight_decay
        )
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, self.recipe.learning_rate, steps, pct_start=0.1)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class Curves(Callback):
    """Keeps one row an epoch, in the checkpoint so that a resumed run continues them, and in `curves.json`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.rows: list[dict[str, float]] = []
        self._begun = time.monotonic()

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """An epoch's time begins."""
        self._begun = time.monotonic()

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Add the epoch's row."""
        self.rows.append(
            {
                "epoch": trainer.current_epoch + 1,
                "train_loss": float(trainer.callback_metrics["train_loss"]),
                "val_loss": float(trainer.callback_metrics["val_loss"]),
                "val_dice": float(trainer.callback_metrics["val_dice"]),
                "lr": float(trainer.optimizers[0].param_groups[0]["lr"]),
                "seconds": round(time.monotonic() - self._begun, 1),
            }
        )
        if trainer.is_global_zero:
            (self._folder / CURVES).write_text(json.dumps(self.rows, indent=1))

    def state_dict(self) -> dict[str, Any]:
        """For the checkpoint."""
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """From the checkpoint."""
        self.rows = list(state_dict["rows"])


def fit(
    network: str,
    recipe: Recipe,
    sources: Mapping[Source, Sequence[Study]],
    validation: Sequence[Study],
    folder: Path,
    *,
    start: Path | None = None,
) -> lightning.Trainer:
    """Train a network, from its last checkpoint in `folder` if there is one.

    Args:
        network: a key of `metseg_trainer.networks.NETWORKS`.
        recipe: how.
        sources: what samples are drawn from, of the training patients.
        validation: studies of other patients, which the curves tell of.
        folder: for the checkpoint (`last.ckpt`) and the learning curves (`curves.json`).
        start: a checkpoint of an earlier run whose weights are gone on with; None begins with random ones.

    Returns:
        The trainer, which knows how many processes took part.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lightning.seed_everything(recipe.seed, workers=True, verbose=False)
    trainer = _trainer(recipe, folder)
    samples = Samples(sources, recipe)
    batch = max(1, recipe.batch // trainer.world_size)
    workers = 0 if trainer.accelerator.__class__.__name__ == "CPUAccelerator" else 4
    drawn = DataLoader(
        samples, batch, sampler=EpochSampler(recipe.samples), num_workers=workers, persistent_workers=workers > 0,
        drop_last=True, pin_memory=workers > 0,
    )  # fmt: skip
    judged: DataLoader[int] = DataLoader(range(len(validation)), batch_size=None)  # type: ignore[arg-type]
    last = folder / LAST
    fitting = Fitting(network, recipe, validation)
    if start is not None and not last.exists():
        fitting.network.load_state_dict(load(start).state_dict())
    trainer.fit(
        fitting,
        drawn,
        judged,
        ckpt_path=last if last.exists() else None,
        weights_only=False,
    )
    return trainer


def finished(folder: Path, recipe: Recipe) -> bool:
    """Whether the network of a folder has had all its epochs."""
    curves = folder / CURVES
    return (folder / LAST).exists() and curves.exists() and len(json.loads(curves.read_text())) >= recipe.epochs


def load(checkpoint: Path) -> SegmentationNetwork:
    """The network of a checkpoint that `fit` wrote, with its averaged weights, ready to predict."""
    content = torch.load(checkpoint, map_location="cpu", weights_only=True)
    parameters = content["hyper_parameters"]
    network = create(parameters["network"], parameters["recipe"]["base_width"])
    prefix = "network."
    network.load_state_dict({name.removeprefix(prefix): value for name, value in content["state_dict"].items()})
    return network.eval()


def _trainer(recipe: Recipe, folder: Path) -> lightning.Trainer:
    keep: dict[str, Any] = {"dirpath": folder, "enable_version_counter": False}
    return lightning.Trainer(
        max_epochs=recipe.epochs,
        precision="16-mixed" if torch.cuda.is_available() else "32-true",
        gradient_clip_val=1.0,
        callbacks=[
            EMAWeightAveraging(decay=recipe.averaging),
            ModelCheckpoint(**keep, filename=LAST.removesuffix(".ckpt"), monitor=None),
            Curves(folder),
            TQDMProgressBar(refresh_rate=10),
        ],
        logger=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        enable_model_summary=False,
    )


def _to_tensor(study: Study, index: int, device: torch.device) -> Tensor:
    tensor = study.prepared.tensor(slice(index, index + 1)).transpose(0, 3, 1, 2)
    return torch.from_numpy(np.ascontiguousarray(tensor)).to(device, memory_format=torch.channels_last)
