"""The inputs of a job are fetched in the background, verified, and closed as soon as they have been read."""

import threading
from contextlib import contextmanager
from hashlib import sha256

import pytest
from tests.models import VERSION, tiny_card, tiny_model

from metseg.contracts import InputFile, Request
from metseg.errors import NoChampion, ProcessingFailed
from metseg.inference import ModelCache
from metseg.jobs import JobInputs
from metseg.registry import Registry
from metseg.storage import LocalFolderStore

CONTENTS = (b"first", b"second", b"third")


@pytest.fixture
def store(tmp_path):
    store = LocalFolderStore(tmp_path)
    store.prepare(job_days=1)
    return store


@pytest.fixture
def request_of(store):
    """The request for these contents, once they are stored."""

    def made(model=None):
        inputs = []
        for index, content in enumerate(CONTENTS):
            key, digest = f"jobs/x/input/{index}", sha256(content).hexdigest()
            store.put(key, content)
            inputs.append(InputFile(key=key, name=f"{index}.png", size_bytes=len(content), sha256=digest))
        return Request(id="x", created_at="2026-01-01T00:00:00Z", inputs=inputs, model=model)

    return made


def publish(store):
    model = tiny_model(1.5)
    Registry(store).publish(tiny_card(model, VERSION), {"model.onnx": model})


class Slow:
    """A store that delivers its first input when released."""

    def __init__(self, store):
        self._store = store
        self.asked, self.let_go, self.streamed = threading.Event(), threading.Event(), []

    def __getattr__(self, name):
        return getattr(self._store, name)

    @contextmanager
    def stream(self, key):
        self.streamed.append(key)
        self.asked.set()
        assert self.let_go.wait(20)
        with self._store.stream(key) as chunks:
            yield chunks


def models(store):
    return ModelCache(Registry(store), threads=1)


def test_inputs_are_fetched_in_order_in_the_background(store, request_of):
    slow = Slow(store)
    with JobInputs.fetch(request_of(), slow, models(store)) as inputs:
        assert slow.asked.wait(20)
        slow.let_go.set()
        files = inputs.files()
        assert [(file.name, file.stream.read()) for file in files] == [
            (f"{index}.png", content) for index, content in enumerate(CONTENTS)
        ]


def test_files_are_closed_after_reading_or_at_the_end(store, request_of):
    with JobInputs.fetch(request_of(), store, models(store)) as inputs:
        files = inputs.files()
        inputs.close_files()
        assert all(file.stream.closed for file in files)
    with JobInputs.fetch(request_of(), store, models(store)) as inputs:
        files = inputs.files()
        assert not any(file.stream.closed for file in files)
    assert all(file.stream.closed for file in files)


def test_inputs_are_not_fetched_after_close(store, request_of):
    slow = Slow(store)
    release = threading.Timer(0.2, slow.let_go.set)
    with JobInputs.fetch(request_of(), slow, models(store)):
        assert slow.asked.wait(20)
        release.start()
    assert slow.streamed == ["jobs/x/input/0"]


def test_an_input_unlike_the_accepted_one_is_refused(store, request_of):
    request = request_of()
    store.put("jobs/x/input/1", b"another")
    with JobInputs.fetch(request, store, models(store)) as inputs, pytest.raises(ProcessingFailed, match="changed"):
        inputs.files()


def test_the_model_is_loaded_on_first_use(store, request_of):
    asked = []

    class Models:
        def get(self, version):
            asked.append(version)

    with JobInputs.fetch(request_of(model=VERSION), store, Models()) as inputs:
        inputs.files()
        before = list(asked)
        inputs.predictor()
    assert (before, asked) == ([], [VERSION])


def test_the_model_is_the_requested_one_or_the_champion(store, request_of):
    publish(store)
    with JobInputs.fetch(request_of(model=VERSION), store, models(store)) as inputs:
        assert inputs.predictor()[0].card.version == VERSION
    with JobInputs.fetch(request_of(), store, models(store)) as inputs, pytest.raises(NoChampion):
        inputs.predictor()
    Registry(store).promote(VERSION)
    with JobInputs.fetch(request_of(), store, models(store)) as inputs:
        assert inputs.predictor()[0].card.version == VERSION
