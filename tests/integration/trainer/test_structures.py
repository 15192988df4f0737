"""`metseg-trainer structures` from phantom folders to a table."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.models import tiny_card, tiny_model
from tests.structures import write_brisc

from metseg import phantom
from metseg.contracts import ModelCard, OperatingPoint
from metseg.inference import OnnxPredictor, segment
from metseg.registry import FULL_PRECISION_MODEL, MODEL, Registry
from metseg.settings import settings
from metseg.storage import LocalFolderStore
from metseg_trainer.cli import main
from metseg_trainer.data import read_split, write_phantoms, write_split
from metseg_trainer.export import read_whole
from metseg_trainer.export.onnx_export import to_onnx
from metseg_trainer.networks import create_network
from metseg_trainer.reporting import structures_markdown


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("structures")
    write_phantoms(folder / "lgg", patients=3, slices=6, size_px=160)
    write_brisc(folder / "brisc")
    write_phantoms(folder / "brats", patients=1, slices=8, size_px=128, layout="brats2013")
    write_version(folder / "whole", to_onnx(create_network("attention-unet", 2).eval()), "whole")
    write_version(folder / "both", tiny_model(), "core", "whole")
    return folder


def write_version(folder, model, *structures):
    folder.mkdir()
    (folder / MODEL).write_bytes(model)
    points = {structure: OperatingPoint() for structure in structures}
    card = tiny_card(model).model_copy(update={"operating_points": points})
    (folder / "card.json").write_text(card.model_dump_json())


def command(folders, out, *more):
    options = ["structures", "--samples", "16", "--base-width", "2", "--threads", "1"]
    names = ("lgg", "brisc", "brats", "whole")
    sources = [part for name in names for part in (f"--{name}", folders / name)]
    return main([*options, *map(str, sources), "--out", str(out), *more])


def test_the_command_prepares_trains_and_evaluates_both_structures(folders, tmp_path, capsys):
    assert command(folders, tmp_path) == 0
    table = capsys.readouterr().out
    figures = json.loads((tmp_path / "attention-unet" / "figures.json").read_text())
    assert figures.keys() == {
        "gliomas, whole",
        "drawn metastases, core",
        "drawn metastases, core, post-contrast T1 alone",
        "drawn metastases, whole",
        "BRISC axial validation slices, core",
        "volumes, core",
        "volumes, whole",
    }
    assert all(name in table for name in figures)

    report, published = (
        (tmp_path / "attention-unet" / name).read_text() for name in ("report.html", "report-anonymous.html")
    )
    for name in figures:
        assert name[1:] in report and name[1:] in published
    assert "PHANTOM" in report and "data:image/png" in report
    assert "PHANTOM" not in published and "data:image" not in published
    assert "the ring is where it is served" in published

    record = json.loads((tmp_path / "attention-unet" / "config.json").read_text())
    assert {"clip_norm", "warm_up", "weight_decay", "ema_decay", "loss", "augmentation"} <= record.keys()
    assert record["samples_per_epoch"] == 16
    assert sum(record["structure_sampling"]["sequences"].values()) == pytest.approx(1)
    assert "pre+flair+post" in record["structure_sampling"]["sequences"]

    store = LocalFolderStore(tmp_path / "store")
    store.prepare(job_days=7)
    registry = Registry(store)
    place = tmp_path / "attention-unet"
    card = ModelCard.model_validate_json((place / "card.json").read_bytes())
    assert card.further_evaluation.keys() == figures.keys() - {"gliomas, whole"}
    assert "PHANTOM" not in (place / "model-card.md").read_text() + card.model_dump_json()
    assert card.preprocessing.missing_sequences == "zero"
    models = (MODEL, FULL_PRECISION_MODEL) if card.full_precision else (MODEL,)
    registry.publish(card, {name: (place / name).read_bytes() for name in models})
    study = phantom.head(4, slices=6, size_px=128, lesions=2)
    served = segment(study.volume, OnnxPredictor(card, registry.load(card.version)[1], threads=1))
    assert set(served.structures) == {"core", "whole"}
    assert not (served.structures["core"].mask & ~served.structures["whole"].mask).any()

    assert command(folders, tmp_path) == 1
    assert "add --resume" in capsys.readouterr().err
    only_whole = tiny_card(b"").model_copy(update={"operating_points": {"whole": OperatingPoint()}})
    for name in models:
        whole = OnnxPredictor(only_whole, read_whole(place, name), threads=1)
        assert whole(np.zeros((1, 32, 32, 3), np.float32)).shape == (1, 1, 32, 32)
    assert command(folders, tmp_path, "--resume") == 0
    assert json.loads((tmp_path / "attention-unet" / "figures.json").read_text()) == figures


def test_two_networks_are_compared_on_each_set(folders, tmp_path, capsys):
    assert command(folders, tmp_path, "--network", "attention-unet") == 0
    assert command(folders, tmp_path, "--network", "nested-unet") == 0
    place, printed = tmp_path / "nested-unet", capsys.readouterr().out
    content = json.loads((place / "results.json").read_text())
    assert {one["title"] for one in content["networks"]} == {"Attention U-Net", "Nested U-Net (U-Net++)"}
    assert [one["patches"] for one in content["networks"]] == [16, 16]
    assert "PHANTOM" not in (place / "results.json").read_text()

    variants = content["variants"]
    assert [(one["pruning_level"], one["precision"]) for one in variants[:4]] == [
        (4, "fp32"), (3, "fp32"), (2, "fp32"), (1, "fp32"),
    ]  # fmt: skip
    [served] = [one for one in variants if one["served"]]
    card = ModelCard.model_validate_json((place / "card.json").read_bytes())
    assert (card.variant.pruning_level, card.variant.precision) == (served["pruning_level"], served["precision"])
    assert card.parameters == served["parameters"]
    assert all(one["ms_a_slice"] > 0 and {"core", "whole"} <= one["dice"].keys() for one in variants)
    assert f"level {served['pruning_level']}, {served['precision']}" in printed

    tables, report = structures_markdown(place / "results.json"), (place / "report.html").read_text()
    assert len(content["comparisons"]) == len(content["networks"][0]["sets"])
    for words in content["comparisons"]:
        name, difference = words.split(": ", 1)
        assert difference in tables and words in printed and f"| {name[0].upper()}{name[1:]}: " in tables
        for network in content["networks"]:
            mean = network["sets"][name]["measures"]["dice"]["mean"]
            assert f"{mean:.3f} (" in tables and f"{mean:.3f}" in report


def test_studies_with_a_known_core_are_trained_validated_and_tested_on(folders, tmp_path, capsys):
    write_phantoms(tmp_path / "mets", patients=4, slices=8, size_px=128, layout="brats")
    assert command(folders, tmp_path / "out", "--studies", str(tmp_path / "mets")) == 0
    assert "test studies, core" in capsys.readouterr().out
    place = tmp_path / "out" / "attention-unet"
    figures = json.loads((place / "figures.json").read_text())
    assert len(figures["test studies, core"]) == len(figures["test studies, whole"]) == 1
    card = ModelCard.model_validate_json((place / "card.json").read_bytes())
    assert "studies with a known core" in card.data.name
    assert card.data.patients["train"] == 1 + 3 + 2, "a glioma, BRISC's slices, studies"
    assert "PHANTOM" not in card.model_dump_json()

    further = ["--studies", str(tmp_path / "mets"), "--start"]
    assert command(folders, tmp_path / "further", *further, str(place)) == 0
    split = read_split(place / "split.json")
    write_split(replace(split, train=split.test), place / "split.json")
    assert command(folders, tmp_path / "from tested", *further, str(place)) == 1
    assert "that this one is evaluated on: 2" in capsys.readouterr().err, "a glioma and a study"
    assert command(folders, tmp_path / "from starter", *further, "infra/starter-model") == 1
    assert "trained with other glioma patients" in capsys.readouterr().err


def test_a_site_trains_on_its_own_studies_alone(folders, tmp_path, capsys):
    write_phantoms(tmp_path / "mets", patients=5, slices=8, size_px=128, layout="brats")
    next((tmp_path / "mets").rglob("*-t1c.nii.gz")).unlink()
    own = ["structures", "--samples", "16", "--base-width", "2", "--threads", "1", "--studies", str(tmp_path / "mets")]
    assert main([*own, "--whole", str(folders / "whole"), "--out", str(tmp_path / "out")]) == 0
    assert "no post-contrast T1, without which a core cannot be seen" in capsys.readouterr().out
    place = tmp_path / "out" / "attention-unet"
    figures = json.loads((place / "figures.json").read_text())
    assert figures.keys() == {"test studies, core", "test studies, whole"}
    card = ModelCard.model_validate_json((place / "card.json").read_bytes())
    assert card.data.name.startswith("studies with a known core") and "BRISC" not in card.data.name
    assert card.data.patients == {"train": 2, "validation": 1, "test": 1}
    assert card.figures["Attention U-Net"].patients == 1, "of the whole, which the studies show"
    assert card.further_evaluation["test studies, core"].robustness, "no gliomas show what corruptions do"
    assert "Test studies, core" in (place / "report.html").read_text()

    own += ["--start", str(tmp_path / "published"), "--whole", str(place)]
    (tmp_path / "published").mkdir()
    for name in ("card.json", "last.ckpt"):
        shutil.copy(place / name, tmp_path / "published")
    assert main([*own, "--out", str(tmp_path / "further")]) == 1
    assert "patients whom it does not name" in capsys.readouterr().err


def test_studies_whose_whole_is_unknown_keep_its_operating_point(folders, tmp_path):
    write_phantoms(tmp_path / "mets", patients=3, slices=8, size_px=128, layout="brats")
    (tmp_path / "mets" / "labels.yaml").write_text("core: [1, 2, 3]\nwhole: unknown\n")
    own = ["structures", "--samples", "16", "--base-width", "2", "--threads", "1", "--studies", str(tmp_path / "mets")]
    assert main([*own, "--whole", "infra/starter-model", "--out", str(tmp_path / "out")]) == 0
    place = tmp_path / "out" / "attention-unet"
    card, starter = (
        ModelCard.model_validate_json((folder / "card.json").read_bytes())
        for folder in (place, Path("infra/starter-model"))
    )
    assert card.operating_points["whole"] == starter.operating_points["whole"]
    assert card.figures == {} and card.further_evaluation.keys() == {"test studies, core"}
    assert starter.data.licence in card.data.licence, "the whole is the starter's"
    assert "of studies with a known core, as their owner states" in card.data.licence


def test_patients_to_test_on_must_be_named(folders, tmp_path, capsys):
    options = ["--brisc", str(folders / "brisc"), "--whole", str(folders / "whole"), "--out", str(tmp_path)]
    assert main(["structures", *options]) == 1
    assert "Name patients" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("layout", "words"), [("slices", "holds slices"), ("whole alone", "show no core"), ("two", "takes one folder")]
)
def test_studies_without_a_known_core_are_refused(folders, tmp_path, capsys, layout, words):
    sources = [str(tmp_path / "data")]
    if layout == "slices":
        write_phantoms(tmp_path / "data", patients=3, slices=4, size_px=96)
    elif layout == "whole alone":
        write_phantoms(tmp_path / "data", patients=3, slices=4, size_px=96, layout="brats")
        (tmp_path / "data" / "labels.yaml").write_text("core: unknown\nwhole: any\n")
    else:
        sources.append(str(folders / "lgg"))
    assert command(folders, tmp_path / "out", "--studies", *sources) == 1
    assert words in capsys.readouterr().err


def test_nothing_to_resume_and_folders_without_data_are_refused(folders, tmp_path, capsys):
    assert command(folders, tmp_path, "--resume") == 1
    assert "has no checkpoint to resume" in capsys.readouterr().err
    assert command(folders, tmp_path, "--brisc", str(tmp_path)) == 1
    assert "index.csv cannot be read" in capsys.readouterr().err
    assert command(folders, tmp_path, "--whole", str(folders / "both")) == 1
    assert "was not joined from" in capsys.readouterr().err
    assert not (tmp_path / "attention-unet").exists()


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A store that the command uses."""
    monkeypatch.setenv("METSEG_STORE_DIRECTORY", str(tmp_path / "store"))
    settings.cache_clear()
    yield LocalFolderStore(tmp_path / "store")
    settings.cache_clear()


def test_a_version_is_registered_and_promoted_if_it_is_better(folders, tmp_path, capsys, store):
    """The core is learned further from the champion, as a site would on its reviewed studies."""
    assert command(folders, tmp_path / "none", "--whole", "champion") == 1
    assert "no champion yet" in capsys.readouterr().err
    assert command(folders, tmp_path / "first") == 0
    assert "There was no champion" in capsys.readouterr().out
    registry = Registry(store)
    first = registry.champion().version
    assert "attention-unet" in registry.file(first, "model-card.md").decode()
    assert "PHANTOM" not in "".join(registry.file(first, name).decode() for name in ("card.json", "model-card.md"))

    fine_tuned = tmp_path / "second"
    further = ["--whole", "champion", "--start", "champion", "--samples", "8"]
    assert command(folders, fine_tuned, *further) == 0
    verdict = capsys.readouterr().out
    place = fine_tuned / "attention-unet"
    card = ModelCard.model_validate_json((place / "card.json").read_bytes())
    means = re.findall(r"([\d.]+) \(([\d.]+)\) for the (core|whole) on all test studies", verdict)
    assert [structure for *_, structure in means] == ["core", "whole"]
    assert means[1][0] == means[1][1], "the whole is the champion's"
    assert f"champion {first}:" in verdict, "which has not seen them"
    is_better = "It was promoted" in verdict
    assert registry.champion().version == (card.version if is_better else first)
    assert {one.version for one in registry.versions()} == {first, card.version}

    assert command(folders, fine_tuned, *further, "--resume", "--promote", "always") == 0
    assert registry.champion().version not in (first, card.version)
    from_tested = read_split(fine_tuned / "champion" / "split.json")
    write_split(replace(from_tested, train=from_tested.test), fine_tuned / "champion" / "split.json")
    shutil.rmtree(place)
    assert command(folders, fine_tuned, *further) == 1
    assert "that this one is evaluated on: 1" in capsys.readouterr().err
