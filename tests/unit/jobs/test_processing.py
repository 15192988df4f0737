"""A job reports the model's limits: whether the study is in distribution, and how uncertain the result is."""

from functools import partial
from hashlib import sha256

import numpy as np
import pytest
from tests.integration.studies import phantom_files
from tests.models import VERSION, familiarity_card, tiny_card, tiny_model

from metseg.contracts import InputFile, Request
from metseg.errors import UnknownSequence
from metseg.formats import read_probability
from metseg.imaging import encode_png
from metseg.inference import ModelCache
from metseg.jobs import JobInputs, process
from metseg.phantom import head
from metseg.registry import Registry
from metseg.settings import Limits
from metseg.storage import LocalFolderStore

OTHER = "20260102-000000-other"


@pytest.fixture
def store(tmp_path):
    store = LocalFolderStore(tmp_path)
    store.prepare(job_days=1)
    return store


def publish(store, version=VERSION, network="tiny", brighter_than=1.5, **changes):
    model = tiny_model(brighter_than)
    card = tiny_card(model, version).model_copy(update={"network": network, **changes})
    Registry(store).publish(card, {"model.onnx": model})


def done(store, files=None, **wishes):
    """The result and the artefacts of a study, by default of three slices, segmented by the first version."""
    inputs = []
    for index, (name, content) in enumerate((files or phantom_files(3, size_px=96)).items()):
        store.put(f"jobs/x/input/{index}", content)
        inputs.append(InputFile(key=f"jobs/x/input/{index}", name=name, size_bytes=len(content), sha256=_sha(content)))
    request = Request(id="x", created_at="2026-01-01T00:00:00Z", inputs=inputs, model=VERSION, **wishes)
    with JobInputs.fetch(request, store, ModelCache(Registry(store), threads=1)) as inputs:
        return process(request, inputs, Limits(), lambda done, total: None)


def _sha(content: bytes) -> str:
    return sha256(content).hexdigest()


known = partial(familiarity_card, turned_limit=100)


def test_an_out_of_distribution_study_is_segmented_with_a_first_warning(store):
    publish(store, familiarity=known(limit=0.01))
    result, _ = done(store)
    assert result.familiarity.unlike and result.familiarity.score > 1
    assert result.warnings[0] == result.familiarity.words
    assert result.lesions


def test_an_in_distribution_study_has_no_warning(store):
    publish(store, familiarity=known(limit=100))
    result, _ = done(store)
    assert not result.familiarity.unlike
    assert result.familiarity.words not in result.warnings


def test_a_model_without_a_reference_reports_no_distribution_check(store):
    publish(store)
    result, _ = done(store)
    assert result.familiarity is None


def test_uncertainty_is_computed_only_on_request(store):
    publish(store)
    result, artefacts = done(store)
    assert result.uncertainty_words is None
    assert "uncertainty.nii.gz" not in artefacts
    assert all(lesion.uncertainty is None for lesion in result.lesions)


def test_requested_uncertainty_has_a_map_figures_and_text(store):
    publish(store)
    result, artefacts = done(store, uncertainty=True)
    assert result.uncertainty_words.startswith("Compared 2 views: ")
    assert read_probability(artefacts["uncertainty.nii.gz"]).shape == result.shape
    assert all(0 <= lesion.uncertainty <= 1 and lesion.uncertainty_words for lesion in result.lesions)


def test_the_registrys_other_network_also_predicts(store):
    publish(store)
    publish(store, "20260101-000001-same", brighter_than=0.5)
    assert done(store, uncertainty=True)[0].uncertainty_words.startswith("Compared 2 views: ")
    publish(store, OTHER, "other", brighter_than=9)
    result, _ = done(store, uncertainty=True)
    assert result.uncertainty_words.startswith("Compared 4 views: sure of 0 of")
    assert {lesion.uncertainty_words for lesion in result.lesions} == {"unsure: found in 2 of 4 views"}


def test_a_damaged_other_network_is_not_used(store):
    publish(store)
    publish(store, OTHER, "other")
    store.put(f"models/{OTHER}/model.onnx", b"changed")
    assert done(store, uncertainty=True)[0].uncertainty_words.startswith("Compared 2 views: ")


def test_a_grey_image_that_says_nothing_is_recognised_or_refused(store):
    publish(store)
    pixels = head(7, slices=3, size_px=256).volume.pixels
    flair, _ = done(store, {f"{index}.png": encode_png(one[..., 1]) for index, one in enumerate(pixels)})
    assert flair.identified["flair"].by == "recognised" and flair.identified["flair"].probability > 0.5
    mask = {"a.png": encode_png(np.uint8(255) * (pixels[1, ..., 1] > 90).astype(np.uint8))}
    with pytest.raises(UnknownSequence, match="mask"):
        done(store, mask)
    stated, _ = done(store, mask, sequence="post")
    assert stated.identified["post"].by == "stated"
