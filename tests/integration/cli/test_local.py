"""`metseg --local`: the same pipeline without a server, with the same bytes."""

import subprocess
import sys

import pytest
from tests.hospital import hospital, study
from tests.models import STARTER, VERSION, tiny_card, tiny_model

from metseg.cli.local import LocalBackend, open_registry
from metseg.cli.main import main
from metseg.contracts import Result
from metseg.errors import ModelRejected, NotFound
from metseg.registry import Registry
from metseg.results.exports import EXPORTS
from metseg.settings import Limits
from metseg.storage import LocalFolderStore

ALIKE = [
    "nifti",
    "zip",
    "tiff",
    "png",
    "probability",
    "probability-tiff",
    "probability-zip",
    "csv",
    "json",
    "animation",
    "overlays",
    "uncertainty",
    "uncertainty-tiff",
    "uncertainty-zip",
]
WISHES = ["--uncertainty", "--align", "none"]


@pytest.fixture
def model(tmp_path):
    """A folder with the tiny model."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(tiny_model())
    (folder / "card.json").write_text(tiny_card(tiny_model()).model_dump_json())
    return folder


def local(model, out, *studies, formats="nifti", wishes=()):
    options = ["--local", "--model-dir", model, "--out", out, "--formats", formats, *wishes]
    return main(["segment", *map(str, [*studies, *options])])


def test_local_results_equal_the_servers(tmp_path, redis, model):
    path = study(tmp_path / "in/patient", slices=4)
    with hospital(tmp_path / "server", redis.database(3)) as server:
        remote = ["--server", server.url, "--out", str(tmp_path / "remote"), "--formats", ",".join(ALIKE), *WISHES]
        assert main(["segment", str(path), *remote]) == 0
    assert local(model, tmp_path / "here", path, formats=",".join(ALIKE), wishes=WISHES) == 0
    there, here = tmp_path / "remote/patient", tmp_path / "here/patient"
    for name in ALIKE:
        file = EXPORTS[name].file_name
        assert (here / file).read_bytes() == (there / file).read_bytes(), name
    results = [Result.model_validate_json((folder / "result.json").read_bytes()) for folder in (there, here)]
    assert results[0].lesions
    of_a_job = {"job_id", "durations_s"}
    assert results[0].model_dump(exclude=of_a_job) == results[1].model_dump(exclude=of_a_job)


def test_many_slices_are_sent_as_one_archive(tmp_path, model, capsys):
    path = study(tmp_path / "in/patient", slices=Limits().files + 1)
    assert local(model, tmp_path / "out", path) == 0
    assert (
        Result.model_validate_json((tmp_path / "out/patient/result.json").read_bytes()).shape[0] == Limits().files + 1
    )


def test_the_stores_champion_or_a_named_version_segments(tmp_path, model):
    store = LocalFolderStore(tmp_path / "store")
    store.prepare(1)
    for version in (VERSION, "20260202-000000-tiny"):
        Registry(store).publish(tiny_card(tiny_model(), version), {"model.onnx": tiny_model()})
    Registry(store).promote(VERSION)
    path = study(tmp_path / "patient")
    assert local(tmp_path / "store", tmp_path / "out", path) == 0
    named = ["--model", "20260202-000000-tiny", "--local", "--model-dir", str(tmp_path / "store")]
    assert main(["segment", str(path), "--out", str(tmp_path / "named"), *named]) == 0
    versions = [
        Result.model_validate_json((tmp_path / out / "patient/result.json").read_bytes()).model_version
        for out in ("out", "named")
    ]
    assert versions == [VERSION, "20260202-000000-tiny"]


def test_a_study_that_cannot_be_read_fails_with_a_sentence(tmp_path, model, capsys):
    (tmp_path / "bad.png").write_bytes(b"this is no picture")
    assert local(model, tmp_path / "out", tmp_path / "bad.png", study(tmp_path / "good")) == 1
    assert "\nmetseg: bad: " in "\n" + capsys.readouterr().err  # perhaps after lines of a log
    assert (tmp_path / "out/good/result.json").is_file()


def test_a_folder_without_a_model_is_a_usage_error(tmp_path, capsys):
    assert local(tmp_path, tmp_path / "out", study(tmp_path / "patient")) == 2
    assert "holds no model" in capsys.readouterr().err


def test_a_model_that_does_not_match_its_card_is_not_used(tmp_path, model, capsys):
    (model / "model.onnx").write_bytes(tiny_model(brighter_than=0.1))
    assert local(model, tmp_path / "out", study(tmp_path / "patient")) == 1
    assert "does not match its checksum" in capsys.readouterr().err


def test_an_unreadable_card_is_a_usage_error(tmp_path, model, capsys):
    (model / "card.json").write_text("{}")
    assert local(model, tmp_path / "out", study(tmp_path / "patient")) == 2
    assert "card.json" in capsys.readouterr().err


def test_an_unreadable_result_is_replaced(tmp_path, model):
    path = study(tmp_path / "patient")
    assert local(model, tmp_path / "out", path) == 0
    written = tmp_path / "out/patient/result.json"
    before = Result.model_validate_json(written.read_bytes())
    written.write_text("{}")
    assert local(model, tmp_path / "out", path) == 0
    assert Result.model_validate_json(written.read_bytes()).lesions == before.lesions


def test_the_starter_model_can_be_named():
    models = open_registry(STARTER)
    champion = models.champion()
    card, _ = models.load(champion.version)
    assert card.version == champion.version
    with pytest.raises((NotFound, ModelRejected)):
        models.load("20200101-000000-other")


def test_missing_pipeline_libraries_are_named_with_the_install_command(tmp_path, model):
    arguments = ["segment", str(study(tmp_path / "patient")), "--out", str(tmp_path / "out")]
    arguments += ["--local", "--model-dir", str(model)]
    blocked = "import sys; sys.modules['onnxruntime'] = None; from metseg.cli.main import main; "
    ended = subprocess.run(
        [sys.executable, "-c", f"{blocked}sys.exit(main({arguments}))"], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert "pip install './shared[local]'" in ended.stderr


def test_it_takes_one_study_at_a_time(model):
    assert LocalBackend(model).max_concurrency == 1
