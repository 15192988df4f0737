"""A model version exists completely or not at all, never changes, and serves only if its checksum matches."""

import hashlib
import logging
import threading
from datetime import UTC, datetime, timedelta

import pytest
from tests.models import VERSION, tiny_card

from metseg.contracts import FullPrecision, OperatingPoint
from metseg.errors import Conflict, ModelRejected, NotFound, StoreUnavailable
from metseg.registry import Registry

MODEL = b"weights"
FILES = {"model.onnx": MODEL, "report.html": b"<html>"}
OTHER = "20260102-000000-attention-unet"


@pytest.fixture
def registry(store):
    return Registry(store)


@pytest.fixture
def published(registry):
    registry.publish(tiny_card(MODEL), FILES)
    return registry


def test_a_published_version_is_loaded(published):
    assert published.load(VERSION) == (tiny_card(MODEL), MODEL)
    assert published.card(VERSION) == tiny_card(MODEL)
    assert published.file(VERSION, "report.html") == b"<html>"


def test_versions_come_newest_first(published):
    newer = tiny_card(MODEL, OTHER).model_copy(update={"created_at": datetime(2026, 1, 2, tzinfo=UTC)})
    published.publish(newer, FILES)
    assert [card.version for card in published.versions()] == [OTHER, VERSION]


def test_an_empty_registry_has_no_version_and_no_champion(registry):
    assert registry.versions() == []
    assert registry.champion() is None


def test_a_published_version_serves_only_once_promoted(published):
    assert published.champion() is None
    champion = published.promote(VERSION)
    assert (champion.version, champion.sha256) == (VERSION, tiny_card(MODEL).sha256)
    assert abs(datetime.now(UTC) - champion.promoted_at) < timedelta(minutes=1)
    assert published.champion() == champion


def test_a_promotion_can_be_rolled_back(published):
    published.publish(tiny_card(MODEL, OTHER), FILES)
    for version in (VERSION, OTHER, VERSION):
        published.promote(version)
        assert published.champion().version == version


def test_the_champion_pointer_is_not_listed_as_a_version(published):
    published.promote(VERSION)
    assert [card.version for card in published.versions()] == [VERSION]


def test_a_version_never_changes(published):
    with pytest.raises(Conflict):
        published.publish(tiny_card(b"other"), {"model.onnx": b"other"})
    assert published.load(VERSION)[1] == MODEL


@pytest.mark.parametrize("files", [{}, {"model.onnx": b"other"}, {"report.html": MODEL}])
def test_a_model_that_does_not_match_its_card_is_not_published(registry, files):
    with pytest.raises(ModelRejected):
        registry.publish(tiny_card(MODEL), files)
    assert registry.versions() == []


class Dying:
    """A store that fails at a put, as if the trainer were killed there."""

    def __init__(self, store, puts):
        self._store, self._puts = store, puts

    def __getattr__(self, name):
        return getattr(self._store, name)

    def put(self, *args, **kwargs):
        self._puts -= 1
        if self._puts < 0:
            raise StoreUnavailable("gone")
        self._store.put(*args, **kwargs)


@pytest.mark.parametrize("puts", range(3))
def test_a_partly_published_version_does_not_exist_and_can_be_published_again(store, puts):
    with pytest.raises(StoreUnavailable):
        Registry(Dying(store, puts)).publish(tiny_card(MODEL), FILES)
    registry = Registry(store)
    assert registry.versions() == []
    with pytest.raises(NotFound):
        registry.promote(VERSION)
    registry.publish(tiny_card(MODEL), FILES)
    assert registry.load(VERSION)[1] == MODEL


def test_a_card_among_the_files_is_ignored(registry):
    registry.publish(tiny_card(MODEL), {**FILES, "card.json": b"{}"})
    assert registry.card(VERSION) == tiny_card(MODEL)


@pytest.mark.parametrize("damage", [b"other", None])
def test_a_damaged_model_is_neither_loaded_nor_promoted_and_the_champion_stays(store, published, damage):
    published.publish(tiny_card(MODEL, OTHER), FILES)
    published.promote(OTHER)
    if damage is None:
        store.delete(f"models/{VERSION}/model.onnx")
    else:
        store.put(f"models/{VERSION}/model.onnx", damage)
    for call in (published.load, published.promote):
        with pytest.raises(ModelRejected):
            call(VERSION)
    assert published.champion().version == OTHER


def test_an_unreadable_card_is_skipped_and_logged(store, published, caplog):
    store.put(f"models/{OTHER}/card.json", b'{"from": "the future"}')
    with caplog.at_level(logging.WARNING):
        assert [card.version for card in published.versions()] == [VERSION]
    assert OTHER in caplog.text
    with pytest.raises(ModelRejected):
        published.card(OTHER)


def test_an_unreadable_champion_pointer_is_rejected(store, registry):
    store.put("models/champion.json", b"{}")
    with pytest.raises(ModelRejected):
        registry.champion()


@pytest.mark.parametrize("version", ["", "absent", "../jobs", "a/b", "A", "champion.json", "a--b", "-a"])
def test_an_unknown_version_is_not_found(published, version):
    for call in (published.card, published.load, published.promote, lambda name: published.file(name, "report.html")):
        with pytest.raises(NotFound):
            call(version)


@pytest.mark.parametrize("name", ["absent.html", "../champion.json", "", "/etc/passwd"])
def test_an_unknown_file_is_not_found(published, name):
    with pytest.raises(NotFound):
        published.file(VERSION, name)


@pytest.mark.parametrize("version", ["../x", "a/b", "Upper", "", "20260101_000000"])
def test_an_invalid_version_name_cannot_be_published(registry, version):
    with pytest.raises(ValueError, match="not a version"):
        registry.publish(tiny_card(MODEL, version), FILES)


def test_readers_see_the_old_or_the_new_champion(published):
    published.publish(tiny_card(MODEL, OTHER), FILES)
    published.promote(VERSION)
    stop = threading.Event()

    def promote():
        while not stop.is_set():
            published.promote(OTHER)
            published.promote(VERSION)

    promoter = threading.Thread(target=promote)
    promoter.start()
    try:
        seen = {published.champion().version for _ in range(50)}
    finally:
        stop.set()
        promoter.join()
    assert seen <= {VERSION, OTHER}


POINTS = {"whole": OperatingPoint(threshold=0.7)}


@pytest.fixture
def twofold():
    """The card of a version with two models."""
    full = FullPrecision(sha256=hashlib.sha256(b"wide").hexdigest(), operating_points=POINTS)
    return tiny_card(MODEL).model_copy(update={"full_precision": full})


def test_a_version_of_two_models_keeps_both(registry, twofold):
    registry.publish(twofold, {**FILES, "model-fp32.onnx": b"wide"})
    assert registry.promote(VERSION).sha256 == twofold.sha256
    assert (registry.load(VERSION), registry.full_precision_model(twofold)) == ((twofold, MODEL), b"wide")


@pytest.mark.parametrize("files", [{}, {"model-fp32.onnx": b"other"}])
def test_a_version_of_two_models_is_not_published_with_one(registry, twofold, files):
    with pytest.raises(ModelRejected, match=r"model-fp32\.onnx"):
        registry.publish(twofold, {**FILES, **files})
    assert registry.versions() == []


def test_a_version_whose_second_model_is_damaged_is_not_promoted(registry, twofold, store):
    registry.publish(twofold, {**FILES, "model-fp32.onnx": b"wide"})
    store.put(f"models/{VERSION}/model-fp32.onnx", b"other")
    with pytest.raises(ModelRejected, match="does not match"):
        registry.promote(VERSION)
    assert registry.champion() is None


def test_the_champion_names_the_version_before_it(published):
    published.publish(tiny_card(MODEL, OTHER), FILES)
    befores = [published.promote(version).previous for version in (VERSION, VERSION, OTHER, OTHER, VERSION)]
    assert befores == [None, None, VERSION, VERSION, OTHER]


@pytest.mark.parametrize("name", ["model.onnx", "model-fp32.onnx"])
def test_a_damaged_champion_is_servable_only_with_an_intact_predecessor(registry, twofold, store, name):
    registry.publish(twofold, {**FILES, "model-fp32.onnx": b"wide"})
    alone = registry.promote(VERSION)
    before = registry.is_servable(alone)
    store.put(f"models/{VERSION}/{name}", b"damaged")
    registry.publish(tiny_card(MODEL, OTHER), FILES)
    assert (before, registry.is_servable(alone)) == (True, False)
    assert registry.is_servable(alone.model_copy(update={"previous": OTHER}))


def test_an_intact_champion_is_checked_with_one_read(published, store, monkeypatch):
    champion = published.promote(VERSION)
    assert published.is_servable(champion)
    monkeypatch.setattr(store, "get", lambda key: pytest.fail(f"{key} was read again"))
    assert published.is_servable(champion)
