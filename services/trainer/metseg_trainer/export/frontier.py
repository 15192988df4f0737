"""Frontier: what a faster model costs in Dice, and which one is worth serving.

Every variant of a run's networks, and of further runs on the same split, is judged on the validation patients at the
operating point that they choose, and timed in turn with all others. They choose what serves; the test patients only
tell afterwards what that was worth.
"""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt

from metseg import registry
from metseg.contracts import FullPrecision, ModelCard, Preprocessing
from metseg.errors import DatasetError
from metseg.imaging import Preprocessor, Volume, lesions
from metseg.inference import OnnxPredictor, predict
from metseg_trainer.data import dataset
from metseg_trainer.data import split as splits
from metseg_trainer.data.dataset import Patient
from metseg_trainer.evaluation import OperatingPoint, TorchPredictor, choose, dice, evaluate
from metseg_trainer.evaluation.evaluate_run import implanted_patients, test_patients
from metseg_trainer.export import model_card as cards
from metseg_trainer.export import out_of_distribution
from metseg_trainer.export.model_selection import Judged, best_of, chosen, in_full_precision, page
from metseg_trainer.export.model_selection import told as tell
from metseg_trainer.export.onnx_export import verify
from metseg_trainer.export.variants import Made, calibration, make
from metseg_trainer.networks import NETWORKS
from metseg_trainer.runs.plan import TITLES, Plan
from metseg_trainer.training.config import Recipe
from metseg_trainer.training.fit import LAST

__all__ = ["frontier", "opened"]

ROUNDS = 11
FOLDER, RESULTS, PAGE = "frontier", "frontier.json", "frontier.html"

Mask = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class _Known:
    """A patient whose truth is known."""

    id: str
    volume: Volume
    truth: Mask
    reference_px: float


def opened(data: Path, folder: Path) -> Plan:
    """The plan of a trained run, read from its folder.

    Raises:
        DatasetError: there is no such run, it was not split by patient, or the data are not those it was split from.
    """
    try:
        config: dict[str, Any] = json.loads((folder / "config.json").read_text())
        told = {field.name: config[field.name] for field in fields(Recipe)}
        recipe = Recipe(**told | {"patch": tuple(told["patch"])})
    except (OSError, ValueError, KeyError) as error:
        raise DatasetError(f"{folder} holds no run that this release can open.") from error
    names = tuple(name for name in NETWORKS if (folder / name / LAST).exists())
    if not names or "split_by" in config:
        raise DatasetError(f"The run in {folder} has no network that was trained on a split by patient.")
    patients, audit = dataset.scan(data)
    split = splits.read(folder / "split.json")
    splits.check(split, patients)
    return Plan(folder, config["preset"], recipe, names, patients, audit, split, preprocessing=_preprocessing(config))


def frontier(plan: Plan, others: Sequence[Path], threads: int) -> dict[str, Any]:
    """Judge, time and compare all variants and write `frontier.json` and `frontier.html`.

    The chosen variant lies beside them, with its card.

    Args:
        plan: of the run.
        others: folders of further runs on the same split: other widths, other input sizes.
        threads: that one inference may use.

    Raises:
        DatasetError: another run was split otherwise, so that it may have learned from who is judged by.
        ModelRejected: an export does not compute what its network does.
    """
    for other in others:
        if splits.read(other / "split.json") != plan.split:
            raise DatasetError(f"The run in {other} was split otherwise; it may have learned from who is judged by.")
    (plan.folder / FOLDER).mkdir(exist_ok=True)
    sides = [[_known(patient) for patient in plan.side(ids)] for ids in (plan.split.validation, plan.split.test)]
    judged = [_judge(plan, made, sides[0], sides[1], threads) for made in _all(plan, others)]
    times = _timed([OnnxPredictor(one.card, one.made.model, threads) for one in judged], sides[0])
    judged = [replace(one, ms_a_slice=taken) for one, taken in zip(judged, times, strict=True)]
    content = tell(judged, threads)
    _keep(plan, judged, threads)
    (plan.folder / RESULTS).write_text(json.dumps(content, indent=2) + "\n")
    (plan.folder / PAGE).write_text(page(content), encoding="utf-8")
    return content


def _preprocessing(config: dict[str, Any]) -> Preprocessing:
    return Preprocessing(pixel_scale=config["pixel_scale"]) if "pixel_scale" in config else Preprocessing()


def _all(plan: Plan, others: Sequence[Path]) -> Iterator[Made]:
    """The variants of the run and of further ones, each calibrated on the patients that all have learned from."""
    learned = plan.side(plan.split.train)
    inputs: dict[Preprocessing, list[Floats]] = {}
    for folder in (plan.folder, *others):
        names = [name for name in NETWORKS if (folder / name / LAST).exists()]
        preprocessing = _preprocessing(json.loads((folder / "config.json").read_text()))
        if preprocessing not in inputs:
            inputs[preprocessing] = calibration(learned, preprocessing)
        yield from make(folder, names, preprocessing, inputs[preprocessing])


def _known(patient: Patient) -> _Known:
    volume, truth = dataset.load(patient)
    return _Known(patient.id, volume, truth, Preprocessor(Preprocessing()).prepare(volume).geometry.reference_px)


def _judge(plan: Plan, made: Made, validation: Sequence[_Known], test: Sequence[_Known], threads: int) -> Judged:
    """The variant at the operating point that the validation patients choose for it."""
    predictor = OnnxPredictor(_card(plan, made, OperatingPoint()), made.model, threads)
    if made.variant.precision == "fp32":
        verify(predictor, TorchPredictor(made.network, made.preprocessing), _middles(validation, made.preprocessing))
    maps = [(one, predict(one.volume, predictor)) for one in validation]
    point = choose((probability, one.truth, one.reference_px) for one, probability in maps)
    scores = {one.id: _dice(one, probability, point) for one, probability in maps}
    tested = {one.id: _dice(one, predict(one.volume, predictor), point) for one in test}
    return Judged(made, _card(plan, made, point), scores, tested)


def _dice(patient: _Known, probability: Floats, point: OperatingPoint) -> float:
    """As `metseg.segment` makes a mask."""
    smallest = point.smallest_lesion_px / patient.reference_px
    return dice(lesions.remove_small(probability >= point.threshold, smallest), patient.truth)


def _middles(patients: Sequence[_Known], preprocessing: Preprocessing) -> list[Floats]:
    """Of each patient the slice halfway up, as a model input."""
    prepared = [Preprocessor(preprocessing).prepare(patient.volume) for patient in patients]
    return [one.tensor(slice(len(one.pixels) // 2, len(one.pixels) // 2 + 1)) for one in prepared]


def _timed(predictors: Sequence[OnnxPredictor], patients: Sequence[_Known]) -> list[float]:
    """Median milliseconds a slice; the models take turns, so that the machine's moods hit all alike."""
    inputs = {one: _middles(patients, one) for one in {predictor.preprocessing for predictor in predictors}}
    times: list[list[float]] = [[] for _ in predictors]
    for turn in range(ROUNDS + 1):
        for predictor, taken in zip(predictors, times, strict=True):
            slices = inputs[predictor.preprocessing]
            began = time.perf_counter()
            for tensor in slices:
                predictor(tensor)
            if turn:  # the first one makes plans
                taken.append(1000 * (time.perf_counter() - began) / len(slices))
    return [median(taken) for taken in times]


def _card(plan: Plan, made: Made, point: OperatingPoint, judged: cards.Judged | None = None) -> ModelCard:
    created_at = datetime.now(UTC)
    card = cards.write_card(
        version=f"{created_at:%Y%m%d-%H%M%S}-{made.key}",
        created_at=created_at,
        title=TITLES[made.name],
        network=made.network,
        model=made.model,
        preprocessing=made.preprocessing,
        point=point,
        data=cards.describe_data(plan.patients, plan.audit, plan.split, implanted=plan.recipe.shares["implanted"] > 0),
        judged=judged or cards.Judged({}, {}, {}, None),
    )
    return card.model_copy(update={"variant": made.variant})


def _keep(plan: Plan, judged: Sequence[Judged], threads: int) -> None:
    """The chosen model and its card, with test figures of its own; beside an 8-bit model, the one it was made from."""
    pick, best = chosen(judged), best_of(judged)
    title, predictor = TITLES[pick.made.name], OnnxPredictor(pick.card, pick.made.model, threads)
    result = evaluate(title, predictor, test_patients(plan))
    drawn = evaluate(title, predictor, implanted_patients(plan, plan.split.test), {})
    figures = cards.Judged(
        figures={title: result.summary},
        evaluation={title: result.card()},
        implanted={title: drawn.card()} if drawn.patients else {},
        comparison=None,
    )
    point = OperatingPoint(pick.card.threshold, pick.card.smallest_lesion_px)
    variant = pick.made.variant.model_copy(update={"dice_loss": best.mean - pick.mean})
    known = out_of_distribution.of_patients(
        plan.side(plan.split.train), plan.side(plan.split.validation), pick.made.preprocessing
    )
    card = _card(plan, pick.made, point, figures).model_copy(update={"variant": variant, "familiarity": known})
    (plan.folder / FOLDER / registry.FULL_PRECISION_MODEL).unlink(missing_ok=True)
    if (wide := in_full_precision(pick, judged)) is not None:
        (plan.folder / FOLDER / registry.FULL_PRECISION_MODEL).write_bytes(wide.made.model)
        full = FullPrecision(
            sha256=wide.card.sha256, threshold=wide.card.threshold, smallest_lesion_px=wide.card.smallest_lesion_px
        )
        card = card.model_copy(update={"full_precision": full})
    (plan.folder / FOLDER / registry.MODEL).write_bytes(pick.made.model)
    (plan.folder / FOLDER / "card.json").write_text(card.model_dump_json(indent=2))
