"""The set-up of a deployment: once or repeatedly, with or without a starter model."""

import logging

import pytest
from tests.models import STARTER, VERSION, familiarity_card, tiny_card, tiny_model

from metseg.errors import StoreUnavailable
from metseg.registry import Registry
from metseg.settings import settings
from metseg.storage import LocalFolderStore
from metseg_worker import setup


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("METSEG_STORE_DIRECTORY", str(tmp_path / "store"))
    monkeypatch.delenv("METSEG_S3_ENDPOINT", raising=False)
    settings.cache_clear()
    yield tmp_path / "store"
    settings.cache_clear()


@pytest.fixture(autouse=True)
def _loud_logs(monkeypatch):
    monkeypatch.setattr(setup.logs, "configure", lambda: None)  # pytest keeps its own handlers
    monkeypatch.setattr(setup.log, "disabled", False)  # even if a library configured logging in this process before
    monkeypatch.setattr(logging.root.manager, "disable", logging.NOTSET)


@pytest.fixture
def starter(tmp_path):
    model = tiny_model()
    starter = tmp_path / "starter"
    starter.mkdir()
    (starter / "model.onnx").write_bytes(model)
    (starter / "card.json").write_text(tiny_card(model).model_dump_json())
    (starter / "report.html").write_text("<html>")
    return starter


def run(starter):
    return setup.main(["--starter", str(starter), "--timeout", "0"])


def test_the_starter_model_is_published_whole_and_promoted(folder, starter):
    assert run(starter) == 0
    registry = Registry(LocalFolderStore(folder))
    assert registry.champion().version == VERSION
    assert registry.file(VERSION, "report.html") == b"<html>"


def test_the_other_network_is_published_and_not_promoted(folder, starter):
    other, model = starter / setup.OTHER_NETWORK, tiny_model(3.0)
    other.mkdir()
    (other / "model.onnx").write_bytes(model)
    card = tiny_card(model, "20260303-000000-other").model_copy(update={"network": "nested-unet"})
    (other / "card.json").write_text(card.model_dump_json())
    for _ in range(2):
        assert run(starter) == 0
        registry = Registry(LocalFolderStore(folder))
        assert registry.champion().version == VERSION
        assert {one.version for one in registry.versions()} == {VERSION, "20260303-000000-other"}


def test_the_starter_folder_has_a_version_of_each_network(folder):
    assert run(STARTER) == 0
    registry = Registry(LocalFolderStore(folder))
    [other] = [one for one in registry.versions() if one.version != registry.champion().version]
    assert other.network != registry.card(registry.champion().version).network
    assert registry.load(other.version)[0].operating_points.keys() == {"core", "whole"}


def test_a_second_run_changes_nothing(folder, starter):
    run(starter)
    before = Registry(LocalFolderStore(folder)).champion()
    assert run(starter) == 0
    assert Registry(LocalFolderStore(folder)).champion() == before


def test_an_operators_champion_is_kept(folder, starter):
    store = LocalFolderStore(folder)
    store.prepare(job_days=1)
    registry, model = Registry(store), tiny_model(3.0)
    registry.publish(tiny_card(model, "20260202-000000-own"), {"model.onnx": model})
    registry.promote("20260202-000000-own")
    assert run(starter) == 0
    assert registry.champion().version == "20260202-000000-own"
    assert len(registry.versions()) == 2


def test_the_same_model_with_a_fuller_card_replaces_it(folder, starter):
    run(starter)
    card = tiny_card(tiny_model(), f"{VERSION}-f2").model_copy(update={"familiarity": familiarity_card()})
    (starter / "card.json").write_text(card.model_dump_json())
    assert run(starter) == 0
    registry = Registry(LocalFolderStore(folder))
    assert registry.champion().version == f"{VERSION}-f2"
    assert len(registry.versions()) == 2
    registry.promote(VERSION)
    model = tiny_model(3.0)
    registry.publish(tiny_card(model, "20260202-000000-own"), {"model.onnx": model})
    registry.promote("20260202-000000-own")
    assert run(starter) == 0
    assert registry.champion().version == "20260202-000000-own"


def test_without_a_starter_model_set_up_succeeds_and_says_so(folder, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(setup.log, "handlers", [caplog.handler])
    caplog.set_level(logging.WARNING, logger=setup.log.name)
    assert run(tmp_path / "nothing") == 0
    assert Registry(LocalFolderStore(folder)).champion() is None
    assert "no starter model" in caplog.text


def test_a_starter_model_that_does_not_match_its_card_is_refused(folder, starter, caplog):
    (starter / "model.onnx").write_bytes(tiny_model(9.0))
    assert run(starter) == 1
    assert Registry(LocalFolderStore(folder)).champion() is None
    assert "set-up failed" in caplog.text


class FlickeringStore(LocalFolderStore):
    """A store that has just started: it does not answer, answers once, then not for a while."""

    silent = frozenset({1, 3, 4, 6})
    calls = 0

    def prepare(self, job_days):
        self._answer()
        super().prepare(job_days)

    def get(self, key):
        self._answer()
        return super().get(key)

    def _answer(self):
        self.calls += 1
        if self.calls in self.silent:
            raise StoreUnavailable("The store does not answer.")


def test_a_late_and_flickering_store_is_waited_for(folder, starter, monkeypatch):
    monkeypatch.setattr(setup, "PAUSE_S", 0)
    store = FlickeringStore(folder)
    monkeypatch.setattr(setup, "open_store", lambda _: store)
    assert setup.main(["--starter", str(starter), "--timeout", "60"]) == 0
    assert store.calls > max(store.silent)
    assert Registry(LocalFolderStore(folder)).champion().version == VERSION


def test_an_unresponsive_store_is_an_error_in_bounded_time(folder, starter, monkeypatch, caplog):
    store = FlickeringStore(folder)
    store.silent = range(10**9)
    monkeypatch.setattr(setup, "open_store", lambda _: store)
    assert run(starter) == 1
    assert store.calls == 1
    assert "does not answer" in caplog.records[-1].reason
