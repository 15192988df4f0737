"""A training that is killed, runs out of memory or disk, or is stopped loses minutes at most, and no result changes."""

import errno
import json
import os
import shutil
import signal
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tests import trainings
from tests.trainings import (
    ALWAYS,
    CONFIG,
    EPOCHS,
    NETWORK,
    NEVER,
    STEPS,
    ended,
    sample_dataset,
    started,
    studies,
    train,
)

from metseg import atomic_io
from metseg.errors import (
    DiskFull,
    FolderVanished,
    InvalidParameter,
    LossNotFinite,
    OutOfMemory,
    TrainingFailed,
)
from metseg_trainer.data import PreparedStudy
from metseg_trainer.networks import NETWORKS
from metseg_trainer.training import (
    CHECKPOINT,
    CURVES,
    TrainState,
    distributed,
    is_finished,
    load_network,
    resource_errors_translated,
    train_network,
)
from metseg_trainer.training.checkpoints import load_checkpoint

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unbroken")
    assert ended(train, folder) == 0
    return folder


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_network(folder / CHECKPOINT).state_dict()


def figures(folder: Path) -> list[dict[str, float]]:
    """The curves without durations."""
    return [{**row, "seconds": 0} for row in json.loads((folder / CURVES).read_text())]


def assert_same(folder: Path, unbroken: Path) -> None:
    one, other = weights(folder), weights(unbroken)
    assert all(torch.equal(one[name], other[name]) for name in other)
    assert figures(folder) == figures(unbroken)


@pytest.mark.parametrize("steps", [0, STEPS - 1, STEPS, EPOCHS * STEPS])
def test_a_training_killed_anywhere_in_an_epoch_ends_with_the_same_weights(unbroken, tmp_path, steps):
    assert ended(trainings.killed_after, steps, tmp_path, NEVER) == -signal.SIGKILL
    assert ended(train, tmp_path) == 0
    assert_same(tmp_path, unbroken)


def test_a_training_killed_after_every_step_still_finishes(unbroken, tmp_path):
    for _ in range(EPOCHS * STEPS):
        assert not (tmp_path / CHECKPOINT).exists() or not is_finished(tmp_path, CONFIG)
        assert ended(trainings.killed_after, 1, tmp_path, ALWAYS) == -signal.SIGKILL
    assert is_finished(tmp_path, CONFIG)
    assert_same(tmp_path, unbroken)


def test_a_training_killed_within_a_checkpoint_resumes_from_the_one_before(unbroken, tmp_path):
    assert ended(trainings.killed_while_writing, 3, tmp_path) == -signal.SIGKILL
    assert load_checkpoint(tmp_path / CHECKPOINT)["step"] == 2
    assert ended(train, tmp_path) == 0
    assert_same(tmp_path, unbroken)


@pytest.mark.parametrize("stop_signal", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_signal_leaves_a_checkpoint_to_resume_from(tmp_path, stop_signal):
    config = replace(CONFIG, samples_per_epoch=4000, epochs=1)
    process = started(train, tmp_path, ALWAYS, config)
    _wait_for(tmp_path / CHECKPOINT)
    os.kill(process.pid, stop_signal)
    process.join(300)
    assert process.exitcode == 3
    done = load_checkpoint(tmp_path / CHECKPOINT)["step"]
    assert 0 < done < 1000

    again = started(train, tmp_path, NEVER, config)
    _wait_for(tmp_path, lambda: len(list(tmp_path.glob("events.*"))) == 2)
    time.sleep(0.5)
    os.kill(again.pid, stop_signal)
    again.join(300)
    assert load_checkpoint(tmp_path / CHECKPOINT)["step"] > done


def test_several_processes_stop_together_with_one_checkpoint(tmp_path):
    config = replace(CONFIG, samples_per_epoch=4000, epochs=1)
    process = started(train, tmp_path, ALWAYS, config, 2)
    _wait_for(tmp_path / CHECKPOINT)
    os.kill(process.pid, signal.SIGINT)
    process.join(300)
    assert process.exitcode == 3
    assert 0 < load_checkpoint(tmp_path / CHECKPOINT)["step"] < 1000


def _wait_for(path: Path, holds=None) -> None:
    deadline = time.monotonic() + 60
    while not (holds() if holds else path.exists()):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def poisoned(study: PreparedStudy) -> PreparedStudy:
    """The same, but standardised to NaN."""
    return replace(study, prepared=replace(study.prepared, mean=np.full(3, np.nan, np.float32)))


def test_a_nan_loss_names_the_patients_and_leaves_good_weights(tmp_path, capsys):
    sources = {"whole": [studies()[0], poisoned(studies()[1])]}
    recipes = (replace(CONFIG, batch_size=1, samples_per_epoch=20, seed=seed) for seed in range(20))
    config = next(one for one in recipes if sample_dataset(sources, one).patient(0) == "P0")
    with pytest.raises(LossNotFinite, match=CHECKPOINT) as caught:
        train_network(NETWORK, config, sources, studies()[2:], tmp_path, checkpoint_every_s=ALWAYS)
    assert "slices of P1." in capsys.readouterr().err
    assert "P1" not in caught.value.detail
    assert load_checkpoint(tmp_path / CHECKPOINT)["step"] >= 1
    assert all(torch.isfinite(one).all() for one in weights(tmp_path).values())


def test_a_full_disk_is_an_error_and_the_checkpoint_stays_whole(unbroken, tmp_path, monkeypatch):
    assert ended(trainings.killed_after, 4, tmp_path, NEVER) == -signal.SIGKILL
    before = (tmp_path / CHECKPOINT).read_bytes()

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(atomic_io.os, "fsync", full)
        with pytest.raises(DiskFull, match="full; free some space"):
            train(tmp_path)
    assert (tmp_path / CHECKPOINT).read_bytes() == before
    assert ended(train, tmp_path) == 0
    assert_same(tmp_path, unbroken)


def test_a_run_folder_that_vanishes_is_reported(tmp_path, monkeypatch):
    step = TrainState.train_step

    def vanishing(self, *words, **more):
        if self.step == 1:
            shutil.rmtree(tmp_path / "run")
        return step(self, *words, **more)

    monkeypatch.setattr(TrainState, "train_step", vanishing)
    with pytest.raises(FolderVanished, match="has gone"):
        train(tmp_path / "run", ALWAYS)


def test_too_little_memory_is_reported(tmp_path):
    error_file = tmp_path / "error.txt"
    assert ended(trainings.starved, tmp_path / "run", error_file) == 0
    assert error_file.read_text().startswith("OutOfMemory: The memory is too small")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), DiskFull),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), DiskFull),
        (PermissionError(errno.EACCES, "Permission denied"), TrainingFailed),
        (FileNotFoundError(errno.ENOENT, "No such file", "/run"), FolderVanished),
        (MemoryError(), OutOfMemory),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), OutOfMemory),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed."), OutOfMemory),
    ],
    ids=str,
)
def test_system_errors_become_metseg_errors(tmp_path, error, kind):
    with pytest.raises(TrainingFailed) as caught, resource_errors_translated(tmp_path):
        raise error
    assert type(caught.value) is kind


def test_opencvs_memory_error_becomes_a_metseg_error(tmp_path):
    error = cv2.error("no memory")
    error.code = cv2.Error.StsNoMem
    with pytest.raises(OutOfMemory), resource_errors_translated(tmp_path):
        raise error


def test_other_errors_pass_unchanged(tmp_path):
    with pytest.raises(RuntimeError, match="shapes"), resource_errors_translated(tmp_path):
        raise RuntimeError("shapes do not match")


def test_a_damaged_checkpoint_is_reported(tmp_path):
    (tmp_path / CHECKPOINT).write_bytes(b"PK\x03\x04 half of it")
    with pytest.raises(TrainingFailed, match="cannot be read"):
        train(tmp_path)


def test_a_checkpoint_of_another_release_is_refused(tmp_path):
    torch.save({"state_dict": {}}, tmp_path / CHECKPOINT)
    with pytest.raises(TrainingFailed, match="another release"):
        load_network(tmp_path / CHECKPOINT)


def test_another_config_does_not_resume_from_a_checkpoint(unbroken, tmp_path):
    shutil.copy(unbroken / CHECKPOINT, tmp_path)
    with pytest.raises(TrainingFailed, match="another network or configuration"):
        train(tmp_path, config=replace(CONFIG, learning_rate=1.0))


def test_a_finished_training_is_not_resumed(unbroken, tmp_path):
    shutil.copytree(unbroken, tmp_path / "again")
    train(tmp_path / "again")
    assert_same(tmp_path / "again", unbroken)


def test_a_run_can_start_from_an_earlier_runs_weights(unbroken, tmp_path):
    config = replace(CONFIG, learning_rate=1e-12, weight_decay=0.0)
    train_network(NETWORK, config, {"whole": studies()[:2]}, studies()[2:], tmp_path, start=unbroken / CHECKPOINT)
    before, after = weights(unbroken), weights(tmp_path)
    assert all(torch.allclose(before[name], after[name]) for name in before if name.endswith("weight"))


def test_tensorboard_shows_each_epoch_once_after_a_crash(tmp_path):
    for steps in (STEPS + 1, 2):
        assert ended(trainings.killed_after, steps, tmp_path, NEVER) == -signal.SIGKILL
    assert ended(train, tmp_path) == 0
    events = EventAccumulator(str(tmp_path)).Reload()
    shown = [(scalar.step, scalar.value) for scalar in events.Scalars("Dice/validation")]
    rows = json.loads((tmp_path / CURVES).read_text())
    assert shown == [(row["epoch"], pytest.approx(row["val_dice"])) for row in rows]
    assert len(rows) == EPOCHS


def test_two_processes_compute_the_same_gradients_as_one(tmp_path):
    found = []
    for count in (1, 2):
        folder = tmp_path / str(count)
        folder.mkdir()
        distributed.launch(partial(trainings.gradients, folder), count)
        found.append({path.stem: torch.load(path) for path in folder.iterdir()})
    assert found[0].keys() == found[1].keys() == NETWORKS.keys()
    for network, one in found[0].items():
        two = found[1][network]
        for kind in ("gradients", "buffers"):
            assert one[kind].keys() == two[kind].keys()
            for name, value in one[kind].items():
                what = f"{kind} of {network}'s {name}"
                torch.testing.assert_close(two[kind][name], value, rtol=1e-6, atol=1e-9, msg=what)


def test_two_processes_end_with_the_weights_of_one(tmp_path):
    config = replace(CONFIG, amp=False)
    for devices in (1, 2):
        train(tmp_path / str(devices), config=config, devices=devices)
    one, two = figures(tmp_path / "1"), figures(tmp_path / "2")
    assert len(one) == EPOCHS
    for row, other in zip(one, two, strict=True):
        assert other == pytest.approx(row, rel=0.02)


def test_a_batch_must_divide_evenly(tmp_path):
    with pytest.raises(InvalidParameter, match="cannot be divided equally among 3"):
        train(tmp_path, devices=3)


def test_an_error_in_one_of_several_processes_is_raised(tmp_path):
    sources = {"whole": [poisoned(one) for one in studies()]}
    with pytest.raises(LossNotFinite, match="no checkpoint was written"):
        train_network(NETWORK, CONFIG, sources, studies()[2:], tmp_path, devices=2)
