"""The reference that detects out-of-distribution input: fitted to phantoms, tested on other images."""

from dataclasses import replace

import numpy as np
import pytest
from tests.models import tiny_card, tiny_model

from metseg import phantom
from metseg.contracts import ModelCard, Preprocessing
from metseg.errors import DatasetError
from metseg.imaging import POST, Preprocessor, Volume
from metseg.inference import FEATURES, FEATURES_REVISION, detect_out_of_distribution
from metseg.inference.out_of_distribution import FLIPPED_ORDER
from metseg_trainer.cli import main
from metseg_trainer.data import fingerprint, scan_folder, split_patients, split_sha256, write_phantoms
from metseg_trainer.evaluation import show_only
from metseg_trainer.export import update_card
from metseg_trainer.export.out_of_distribution import _held_out_turns, _reference, build_reference, oas_covariance

PREPROCESSING = Preprocessing()
SLICES = 9


def head(seed: int) -> Volume:
    return phantom.head(seed, slices=SLICES, size_px=96, lesions=seed % 3).volume


@pytest.fixture(scope="module")
def card():
    return build_reference((head(seed) for seed in range(10)), (head(seed) for seed in range(20, 24)), PREPROCESSING)


def asked(volume: Volume, card):
    model_input = Preprocessor(PREPROCESSING).prepare(volume)
    return detect_out_of_distribution(model_input, volume.present, card, PREPROCESSING.pixel_scale)


def test_other_heads_are_in_distribution(card):
    scores = [asked(head(seed), card) for seed in range(40, 46)]
    assert sum(one.unlike for one in scores) <= 1
    assert all("resembles the model's training data" in one.words for one in scores if not one.unlike)


def test_heads_upside_down_are_flagged_as_such(card):
    for seed in range(40, 44):
        volume = head(seed)
        found = asked(replace(volume, pixels=volume.pixels[:, ::-1].copy()), card)
        assert found.unlike and found.score > found.limit == 1
        assert "upside down" in found.words


@pytest.mark.parametrize("channel", range(3))
def test_a_sequence_alone_is_compared_with_its_like(card, channel):
    scores = [asked(show_only(head(seed), channel), card) for seed in range(40, 46)]
    assert sum(one.unlike for one in scores) <= 1
    for seed in range(40, 43):
        volume = show_only(head(seed), channel)
        assert "upside down" in asked(replace(volume, pixels=volume.pixels[:, ::-1].copy()), card).words


def test_without_a_reference_of_a_sequence_that_was_given_there_is_no_score(card):
    flair_alone = card.model_copy(update={"sequences": {"flair": card.sequences["flair"]}})
    assert asked(show_only(head(40), POST), flair_alone) is None
    assert asked(head(40), flair_alone) == asked(head(40), card)


def test_single_slices_of_another_data_set_take_part_in_the_reference_of_post_contrast():
    def others(first):
        return (show_only(head(seed).part(slice(4, 5)), POST) for seed in range(first, first + 5))

    sides = [[head(seed) for seed in range(first, first + 4)] for first in (0, 20)]
    alone, together = (
        build_reference(*sides, PREPROCESSING),
        build_reference(*sides, PREPROCESSING, (others(60), others(70))),
    )
    assert together.sequences["flair"] == alone.sequences["flair"]
    post = together.sequences["post"]
    assert post.studies == alone.sequences["post"].studies
    assert post.lone_slices.learned == alone.sequences["post"].lone_slices.learned + 5


def slices(seed: int, upright: float) -> np.ndarray:
    """The features of a patient's slices, between upright (1) and upside down (0)."""
    one = np.random.default_rng(0).normal(size=len(FEATURES))
    noise = np.random.default_rng(seed).normal(size=(20, len(FEATURES)))
    return upright * one + (1 - upright) * one[FLIPPED_ORDER] + noise


def test_the_limit_of_flips_holds_for_patients_that_the_few_validation_patients_do_not_resemble():
    train = [slices(seed, 0.4 if seed % 5 == 0 else 0.6) for seed in range(1, 22)]
    validation = [slices(seed, 0.6) for seed in range(30, 33)]
    turns = np.array(list(_held_out_turns(train)))
    alone, together = (_reference(train, validation, hold_out=hold_out) for hold_out in (False, True))
    assert (turns > alone.turned_limit).mean() > 0.05
    assert (turns > together.turned_limit).mean() < 0.015
    assert (alone.mean, alone.precision, alone.limit) == (together.mean, together.precision, together.limit)


def test_noise_and_sagittal_slices_are_flagged(card):
    noise = np.random.default_rng(0).normal(100, 20, (SLICES, 96, 96, 3)).astype(np.float32)
    volume = head(40)
    sagittal = np.ascontiguousarray(volume.pixels.transpose(2, 0, 1, 3)[24:72:6])
    sagittal = np.repeat(sagittal, 4, axis=1)
    for pixels in (noise, sagittal):
        found = asked(Volume(pixels, tuple(map(str, range(len(pixels))))), card)
        assert found.unlike
        assert "unlike the model's training data" in found.words


def test_single_slices_have_a_separate_reference(card):
    volume = head(41)
    single = list(volume.single_slices())[SLICES // 4 : -SLICES // 4]
    assert sum(asked(one, card).unlike for one in single) <= 1
    flair = card.sequences["flair"]
    assert flair.lone_slices.learned > flair.studies.learned / 10
    noise = np.random.default_rng(0).normal(100, 20, (1, 96, 96, 3)).astype(np.float32)
    assert asked(Volume(noise, ("a",)), card).unlike


def test_the_limits_pass_nearly_all_validation_studies_and_the_card_reports_how_many(card):
    for references in card.sequences.values():
        assert 0 <= references.studies.false_alarms <= 0.1
        assert 0 <= references.lone_slices.false_alarms <= 0.1
        assert references.lone_slices.judged == 4 * 7
    assert {role: one.studies.judged for role, one in card.sequences.items()} == {"pre": 36, "flair": 40, "post": 36}
    assert card.revision == FEATURES_REVISION
    assert (
        ModelCard.model_validate_json(
            tiny_card(b"model").model_copy(update={"familiarity": card}).model_dump_json()
        ).familiarity
        == card
    )


def test_a_card_without_a_matching_reference_gives_no_score(card):
    assert asked(head(40), None) is None
    assert asked(head(40), card.model_copy(update={"revision": FEATURES_REVISION + 1})) is None


def test_a_shrunk_covariance_approaches_the_true_one_and_is_invertible():
    random = np.random.default_rng(0)
    true = np.diag([4.0, 1.0, 0.25])
    many = random.multivariate_normal(np.zeros(3), true, 20_000)
    assert oas_covariance(many) == pytest.approx(true, abs=0.15)
    few = random.normal(size=(5, 40))
    assert np.linalg.cond(oas_covariance(few)) < 100
    assert np.trace(oas_covariance(few)) == pytest.approx(np.trace(np.cov(few, rowvar=False, bias=True)))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantoms")
    write_phantoms(folder, 40, slices=6, size_px=64)
    return scan_folder(folder)[0]


def written(folder, patients, seed=1):
    card = tiny_card(tiny_model())
    same_data = {"sha256": fingerprint(patients), "split_sha256": split_sha256(split_patients(patients, seed))}
    card = card.model_copy(update={"data": card.data.model_copy(update=same_data)})
    (folder / "card.json").write_text(card.model_dump_json())
    return card


def test_an_earlier_version_is_renewed_as_a_new_version(data, tmp_path, monkeypatch):
    few = data[:32]
    card = written(tmp_path, few)
    assert f"{card.version}-f{FEATURES_REVISION}" in update_card(tmp_path, few, 1)
    again = ModelCard.model_validate_json((tmp_path / "card.json").read_bytes())
    assert again.familiarity is not None
    assert again.sha256 == card.sha256
    assert again.version in (tmp_path / "model-card.md").read_text()
    assert f"{card.version}-f{FEATURES_REVISION} detects" in update_card(tmp_path, few, 1)


def test_other_data_or_another_split_are_refused(data, tmp_path):
    written(tmp_path, data[:32])
    with pytest.raises(DatasetError, match="other data or with another split"):
        update_card(tmp_path, data[:30], 1)
    with pytest.raises(DatasetError, match="other data or with another split"):
        update_card(tmp_path, data[:32], 2)


def test_too_few_validation_patients_are_refused(data, tmp_path):
    written(tmp_path, data[:12])
    with pytest.raises(DatasetError, match="needs 3 validation patients"):
        update_card(tmp_path, data[:12], 1)


def test_the_command_says_what_is_missing(data, tmp_path, capsys):
    folder = data[0].slices[0].image.parents[1]
    assert main(["out-of-distribution", str(tmp_path), "--data", str(folder)]) == 1
    assert "holds no card" in capsys.readouterr().err
