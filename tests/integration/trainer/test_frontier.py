"""From a trained run to the variant that is deployed, on phantoms."""

import hashlib
import json
import shutil

import pytest

from metseg.contracts import ModelCard
from metseg.errors import DatasetError
from metseg.inference import OnnxPredictor, segment
from metseg_trainer.cli import main
from metseg_trainer.data import Split, load_patient, read_split, scan_folder, write_split
from metseg_trainer.evaluation import dice
from metseg_trainer.export import compare_variants
from metseg_trainer.runs import load_plan, make_plan, train

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning", "ignore::DeprecationWarning"),
]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A trained run, and one of another network, width and input size on the same split."""
    folder = tmp_path_factory.mktemp("runs")
    for name, network, changes in (
        ("first", "nested-unet", {}),
        ("narrow", "attention-unet", {"base_width": 2, "input_px": 192}),
    ):
        plan = make_plan(folder / "none", folder / name, preset="smoke", networks=[network], epochs=1, **changes)
        train(plan, store=None)
    return folder


@pytest.fixture(scope="module")
def record(runs):
    words = ["--runs", str(runs), "--data", str(runs / "phantoms"), "--threads", "1"]
    assert main(["frontier", "first", "narrow", *words]) == 0
    return json.loads((runs / "first" / "frontier.json").read_text())


def test_every_network_is_evaluated_at_every_level_size_and_precision(record):
    found = {
        (row["run"], row["network"], row["pruning_level"], row["base_width"], row["input_px"], row["precision"])
        for row in record["variants"]
    }
    levels = {("first", "nested-unet", level, 4, 128) for level in (1, 2, 3, 4)}
    assert found == {
        (*variant, precision)
        for variant in levels | {("narrow", "attention-unet", None, 2, 192)}
        for precision in ("fp32", "int8")
    }
    assert all(row["ms_a_slice"] > 0 for row in record["variants"])


def test_one_variant_is_chosen_among_those_within_the_margin(record):
    [pick] = [row for row in record["variants"] if row["chosen"]]
    near = [row for row in record["variants"] if row["shortfall"] <= record["margin"]]
    assert pick in near
    assert pick["ms_a_slice"] == min(row["ms_a_slice"] for row in near)


def test_the_chosen_variant_is_written_with_its_card(runs, record):
    [pick] = [row for row in record["variants"] if row["chosen"]]
    folder = runs / "first" / "frontier"
    model = (folder / "model.onnx").read_bytes()
    card = ModelCard.model_validate_json((folder / "card.json").read_text())
    assert card.sha256 == hashlib.sha256(model).hexdigest()
    assert (card.variant.precision, card.variant.pruning_level) == (pick["precision"], pick["pruning_level"])
    assert (card.full_precision is None) == (pick["precision"] == "fp32")
    if card.full_precision is not None:
        wide = (folder / "model-fp32.onnx").read_bytes()
        assert card.full_precision.sha256 == hashlib.sha256(wide).hexdigest()
        served = OnnxPredictor(card.in_full_precision(), wide, threads=1)
        assert served.operating_points == card.full_precision.operating_points
    [best] = [row for row in record["variants"] if row["best"]]
    assert card.variant.dice_loss == pytest.approx(best["validation"]["mean"] - pick["validation"]["mean"])

    patients = {patient.id: patient for patient in scan_folder(runs / "phantoms")[0]}
    predictor = OnnxPredictor(card, model, threads=1)
    split = read_split(runs / "first" / "split.json")
    for side, mean in (("validation", pick["validation"]["mean"]), ("test", pick["test"]["mean"])):
        loaded = [load_patient(patients[id]) for id in getattr(split, side)]
        scores = [dice(segment(volume, predictor).mask, truth) for volume, truth in loaded]
        assert sum(scores) / len(scores) == pytest.approx(mean, abs=1e-6)
    assert card.figures[card.network].mean == pytest.approx(pick["test"]["mean"], abs=1e-6)


def test_the_output_names_no_patient(runs, record):
    split = read_split(runs / "first" / "split.json")
    shown = json.dumps(record) + (runs / "first" / "frontier" / "card.json").read_text()
    assert not any(patient in shown for patient in (*split.train, *split.validation, *split.test))


def test_a_run_of_another_split_is_refused(runs, tmp_path):
    other = shutil.copytree(runs / "narrow", tmp_path / "other")
    split = read_split(other / "split.json")
    write_split(Split(split.test, split.validation, split.train), other / "split.json")
    with pytest.raises(DatasetError, match="another split"):
        compare_variants(load_plan(runs / "phantoms", runs / "first"), [other], threads=1)


def test_a_folder_without_a_run_is_refused_in_one_line(runs, capsys):
    assert main(["frontier", "nothing", "--runs", str(runs), "--data", str(runs / "phantoms")]) == 1
    assert "no run that this release can open" in capsys.readouterr().err
