"""Sources: prepared once, stored in memory-mapped files, and sampled by the configured shares."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from tests.trainings import sample_dataset, with_sampling

from metseg import phantom
from metseg.contracts import Preprocessing
from metseg.errors import DiskFull
from metseg_trainer.data import (
    LESION_LEVEL,
    PreparedStudy,
    Split,
    load_patient,
    prepare_study,
    prepared,
    scan_folder,
    write_phantoms,
)
from metseg_trainer.runs import run
from metseg_trainer.runs.planning import plan_fold
from metseg_trainer.training import PRESETS, Plan, resource_errors_translated

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning", "ignore::DeprecationWarning")

CONFIG = replace(PRESETS["smoke"], patch_size=(32, 32))
SETTINGS = prepared._Settings(Preprocessing(), CONFIG.sampling, seed=0)


@pytest.fixture(scope="module")
def patients(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantoms")
    write_phantoms(folder, 2, slices=6, size_px=64)
    return scan_folder(folder)[0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("prepared")


@pytest.fixture(scope="module")
def built(patients, folder):
    return sources_of(patients, Preprocessing(), CONFIG, folder)


def sources_of(patients, preprocessing, config, folder):
    return prepared.prepare_sources(patients, preprocessing, config.sampling, config.seed, folder)


def study(patient: str, lesions: int) -> PreparedStudy:
    head = phantom.head(len(patient), slices=4, size_px=64, lesions=lesions)
    return prepare_study(patient, head.volume, head.mask, Preprocessing())


def test_every_source_contains_every_patient(built, patients):
    assert built.keys() == CONFIG.sampling.source_shares.keys()
    for source in ("whole", "lone"):
        assert {one.patient for one in built[source]} == {one.id for one in patients}


def test_drawn_metastases_are_the_only_lesion_in_their_sample():
    head = phantom.head(5, slices=12, size_px=96, lesions=1)
    studies = list(prepared._implanted("P", head.volume, head.mask, SETTINGS))
    whole = prepare_study("P", head.volume, head.mask, Preprocessing())
    clear = ~head.mask.any(axis=(1, 2))
    assert len(studies) == CONFIG.sampling.implantations
    for one in studies:
        assert len(one.truth) == len(one.prepared.occupied) == one.prepared.geometry.shape[0] == clear.sum()
        assert one.truth.any()
        alike = one.truth.max(axis=(1, 2)) == 0
        difference = one.prepared.pixels[alike].astype(int) - whole.prepared.pixels[clear][alike].astype(int)
        assert np.abs(difference).mean() < 3


def test_a_patient_without_a_clear_slice_gives_no_drawing():
    head = phantom.head(5, slices=4, size_px=64, lesions=1)
    assert not list(prepared._implanted("P", head.volume, np.ones_like(head.mask), SETTINGS))


def test_single_slices_are_separate_studies(built):
    assert {len(one.truth) for one in built["lone"]} == {1}
    assert {len(one.truth) for one in built["whole"]} == {6}


def test_prepared_studies_equal_those_of_serving(built, patients):
    for patient, kept in zip(patients, built["whole"], strict=True):
        fresh = prepare_study(patient.id, *load_patient(patient), Preprocessing())
        np.testing.assert_array_equal(kept.prepared.pixels, fresh.prepared.pixels)
        np.testing.assert_array_equal(kept.truth, fresh.truth)
        np.testing.assert_array_equal(kept.prepared.mean, fresh.prepared.mean)
        np.testing.assert_array_equal(kept.prepared.occupied, fresh.prepared.occupied)
        assert kept.prepared.geometry == fresh.prepared.geometry


def test_pixels_stay_in_their_files_until_they_are_drawn(built):
    for studies in built.values():
        assert all(isinstance(one.prepared.pixels, np.memmap) for one in studies)
        assert not any(one.prepared.pixels.flags.writeable for one in studies)


def test_sources_are_prepared_once(built, patients, folder, monkeypatch):
    monkeypatch.setattr(prepared, "load_patient", lambda _: pytest.fail("read again"))
    again = sources_of(patients, Preprocessing(), CONFIG, folder)
    assert {source: len(studies) for source, studies in again.items()} == {
        source: len(studies) for source, studies in built.items()
    }


def test_parts_of_a_run_share_prepared_data_and_train_on_their_own_side(patients, tmp_path, monkeypatch):
    one, two = (patient.id for patient in patients)
    whole = scan_folder(patients[0].slices[0].image.parents[1])
    plan = Plan(tmp_path, "smoke", CONFIG, (), *whole, split=Split((), (), ()))
    first, second = (
        plan_fold(plan, f"fold-{n}", Split((a,), (), (b,))) for n, (a, b) in enumerate([(one, two), (two, one)])
    )
    assert {study.patient for studies in run._sources(first).values() for study in studies} == {one}
    monkeypatch.setattr(prepared, "load_patient", lambda _: pytest.fail("read again"))
    assert {study.patient for studies in run._sources(second).values() for study in studies} == {two}


def test_other_preprocessing_prepares_again(patients, folder, built):
    other = sources_of(patients, Preprocessing(clahe_clip_limit=4.0), CONFIG, folder)
    one, two = built["whole"][0].prepared.pixels, other["whole"][0].prepared.pixels
    assert not np.array_equal(one, two)


def test_an_unfinished_source_is_prepared_again(patients, tmp_path, monkeypatch):
    config, load = with_sampling(CONFIG, source_shares={"whole": 1.0}), load_patient
    with monkeypatch.context() as patch:
        patch.setattr(prepared, "load_patient", lambda one: load(one) if one is patients[0] else _unplugged())
        with pytest.raises(KeyboardInterrupt):
            sources_of(patients, Preprocessing(), config, tmp_path)
    whole = sources_of(patients, Preprocessing(), config, tmp_path)["whole"]
    assert [one.patient for one in whole] == [one.id for one in patients]


def _unplugged():
    raise KeyboardInterrupt


def test_a_full_disk_is_reported(patients, tmp_path, monkeypatch):
    config, place = with_sampling(CONFIG, source_shares={"whole": 1.0}), []
    write = prepared._write

    def onto_a_full_disk(path, studies):
        place.append(path)
        path.mkdir(parents=True)
        (path / "pixels.bin").symlink_to("/dev/full")
        write(path, studies)

    monkeypatch.setattr(prepared, "_write", onto_a_full_disk)
    with pytest.raises(DiskFull), resource_errors_translated(tmp_path):
        sources_of(patients, Preprocessing(), config, tmp_path)
    assert not (place[0] / "index.json").exists()


def test_sources_are_sampled_by_their_shares():
    shares = {"whole": 0.45, "lone": 0.25, "implanted": 0.2, "stripped": 0.1}
    samples = sample_dataset(
        {source: [study(source, 1)] for source in shares}, with_sampling(CONFIG, source_shares=shares)
    )
    drawn = Counter(samples.patient(number) for number in range(2000))
    assert {source: count / 2000 for source, count in drawn.items()} == pytest.approx(shares, abs=0.04)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 1.0])
def test_lesion_slices_are_sampled_at_the_configured_rate(share):
    samples = sample_dataset(
        {"whole": [study("whole", 1)]}, with_sampling(CONFIG, lesion_share=share, transplant_p=0.0)
    )
    drawn = [samples._draw(np.random.default_rng(number))[0] for number in range(2000)]
    assert np.mean([place.study.truth[place.index].max() >= LESION_LEVEL for place in drawn]) == pytest.approx(
        share, abs=0.04
    )


def test_an_empty_source_leaves_its_share_to_the_others():
    shares = {"whole": 0.5, "stripped": 0.5}
    samples = sample_dataset(
        {"whole": [study("whole", 1)], "stripped": []}, with_sampling(CONFIG, source_shares=shares)
    )
    assert {samples.patient(number) for number in range(20)} == {"whole"}


def test_lesions_are_transplanted_at_the_configured_rate():
    config, shares = replace(CONFIG, patch_size=(64, 64)), {"whole": 1.0}
    with_lesion = {}
    for share in (0.0, 1.0):
        samples = sample_dataset(
            {"whole": [study("one", 1), study("three", 0)]},
            with_sampling(config, source_shares=shares, transplant_p=share),
        )
        with_lesion[share] = np.mean([samples[number][1].max().item() > 0.5 for number in range(150)])
    assert with_lesion[1.0] > with_lesion[0.0] + 0.15
