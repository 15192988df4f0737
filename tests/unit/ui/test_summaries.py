"""The page's tables and sentences, without a page."""

from datetime import UTC, datetime
from functools import partial

import numpy as np
import pytest
from tests.models import tiny_card
from tests.segmentations import measured_structures

from metseg.contracts import (
    DiceSummary,
    Evaluation,
    IdentifiedSequence,
    Interval,
    LesionMetrics,
    MetricSummary,
    OutOfDistribution,
    Result,
    ReviewStamp,
)
from metseg.imaging import ROLES, lesions
from metseg_ui.panels import comparison
from metseg_ui.text import messages, summaries

SHAPE = (4, 64, 48)
SPACING = (5.0, 1.0, 1.0)


def result(mask: np.ndarray, spacing: tuple[float, float, float] | None = SPACING) -> Result:
    probability = mask * np.float32(0.75)
    found = lesions.measure(mask, spacing, probability)
    names = [f"s{index}" for index in range(len(mask))]
    return Result(
        job_id="j",
        model_version="v",
        network="Nested U-Net (U-Net++)",
        structure="core",
        structures=measured_structures(mask),
        shape=mask.shape,
        spacing_mm=spacing,
        lesions=found,
        slices=lesions.measure_slices(mask, found, names, spacing, probability),
        warnings=[],
        durations_s={},
    )


@pytest.fixture
def mask() -> np.ndarray:
    """A large lesion in slices 1 and 2, largest in 2, and one of two pixels in slice 3."""
    mask = np.zeros(SHAPE, bool)
    mask[1, 10:20, 10:20] = mask[2, 10:22, 10:20] = True
    mask[3, 40, 30:32] = True
    return mask


def test_sizes_are_in_millimetres_if_the_spacing_is_known_else_in_pixels(mask):
    [large, small] = summaries.lesion_rows(result(mask))
    assert large == {"No.": 1, "Slice": 3, "Size, mm": "15 × 12", "Vol., ml": pytest.approx(1.1), "Prob.": 75}
    assert small["Slice"] == 4
    [large, small] = summaries.lesion_rows(result(mask, None))
    assert large["Voxels"] == 220 and small["Size, px"] == "2.0 × 1.0"
    assert not any("mm" in name or "ml" in name for name in large)


def test_a_model_says_what_it_learned_and_how_often_it_is_wrong(mask):
    card, core = tiny_card(b"model"), result(mask)
    notes = partial(summaries.model_notes, is_whole_shown=True)
    assert notes(card, core) == [
        "The model outlines tumour cores and, in teal, what surrounds them. It knows nothing of lesions."
    ]
    assert summaries.model_notes(card, core, is_whole_shown=False) == [
        "The model outlines tumour cores and what surrounds them. It knows nothing of lesions."
    ], "nothing is teal where nothing surrounds a core"
    evaluated = card.model_copy(update={"evaluation": {"tiny": evaluation(1.4, 18)}})
    assert notes(evaluated, core)[1] == "False outlines per patient: 1.4 in 18 test patients."
    further = {"glioma, core": evaluation(2.0, 5), "glioma, whole": evaluation(9.0, 5)}
    evaluated = evaluated.model_copy(update={"further_evaluation": further})
    assert notes(evaluated, core)[1] == "False outlines per patient: 2.0 in 5 test patients (glioma)."
    whole = core.model_copy(update={"structure": "whole"})
    assert notes(evaluated, whole)[1] == (
        "False outlines per patient: 1.4 in 18 test patients; 9.0 in 5 test patients (glioma)."
    )


def evaluation(false_positives: float, patients: int) -> Evaluation:
    interval = Interval(low=0, high=false_positives)
    summary = MetricSummary(
        patients=patients,
        mean=false_positives,
        mean_interval=interval,
        median=false_positives,
        median_interval=interval,
    )
    found = LesionMetrics(by_diameter={}, lesionwise_dice=summary, false_positives=summary)
    return Evaluation(measures={}, lesions=found, ece=0, reliability=[], robustness={}, subgroups={})


def test_the_headline_gives_the_number_the_total_and_the_longest_diameter(mask):
    assert summaries.headline(result(mask)) == [
        ("Lesions", "2"),
        ("Total volume", "1.1 ml"),
        ("Longest diameter", "15 mm"),
    ]
    assert summaries.headline(result(mask, None)) == [
        ("Lesions", "2"),
        ("Total size", "222 voxels"),
        ("Longest diameter", "15 px"),
    ]


def test_a_scan_without_lesions_has_a_headline_without_sizes(mask):
    assert [value for _, value in summaries.headline(result(np.zeros_like(mask)))] == ["0", "–", "–"]


def test_one_lesion_is_singular(mask):
    assert summaries.one_line(result(mask).summary) == "2 lesions · 1.1 ml"
    mask[3] = False
    assert summaries.one_line(result(mask, None).summary) == "1 lesion · 220 voxels"
    assert summaries.one_line(result(np.zeros_like(mask)).summary) == "0 lesions"
    assert messages.counted(1, "file") == "1 file" and messages.counted(1024, "slice") == "1,024 slices"


@pytest.mark.parametrize(
    ("roles", "expected"),
    [(["post"], ("Image",)), (["flair", "post"], ("Pre", "FLAIR", "Post")), (ROLES, ("Pre", "FLAIR", "Post"))],
)
def test_only_a_single_grey_image_has_one_sequence(mask, roles, expected):
    identified = dict.fromkeys(roles, IdentifiedSequence(by="name"))
    assert summaries.sequences(result(mask).model_copy(update={"identified": identified})) == expected


@pytest.mark.parametrize(
    ("spacing", "expected"),
    [(SPACING, "4 slices of 48 × 64 px, 1 × 1 mm, 5 mm apart"), (None, "4 slices of 48 × 64 px, spacing unknown")],
)
def test_the_size_of_a_scan_includes_the_spacing_if_it_is_known(mask, spacing, expected):
    assert summaries.scan_size(result(mask, spacing)) == expected


def test_the_network_in_service_is_listed_before_a_better_one():
    dice = DiceSummary(patients=22, mean=0.8, median=0.85, std=0.1, lowest=0.4, highest=0.95)
    better = dice.model_copy(update={"mean": 0.9, "mean_single_slices": 0.7})
    card = tiny_card(b"m").model_copy(
        update={
            "network": "Nested U-Net (U-Net++)",
            "figures": {"Attention U-Net": better, "Nested U-Net (U-Net++)": dice},
        }
    )
    first, second = summaries.model_rows(card)
    assert (first["Network"], first["Mean"], first["Single slices"]) == ("Nested U-Net (U-Net++)", "0.800", "–")
    assert (second["Network"], second["Mean"], second["Single slices"]) == ("Attention U-Net", "0.900", "0.700")
    assert first["Range"] == "0.400 to 0.950"


def test_agreement_is_the_dice_of_two_masks_and_the_lesions_that_only_one_of_them_has(mask):
    other = mask.copy()
    other[3] = False
    other[1, 50:54, 5:9] = True
    found, seen = result(mask).lesions, result(other).lesions
    agreed = comparison.agreement(mask, other, found, seen)
    assert agreed.dice == pytest.approx(2 * 220 / (222 + 236))
    assert (agreed.only_first, agreed.only_second) == ([2], [2])
    empty = np.zeros_like(mask)
    assert comparison.agreement(empty, empty, [], []) == (1.0, [], [])


def test_the_distribution_warning_comes_first(mask):
    found = result(mask).model_copy(update={"warnings": ["A sequence is missing."]})
    assert summaries.warnings(found) == ["A sequence is missing."]
    unlike = OutOfDistribution(score=9, limit=4, unlike=True, words="This looks like no head.")
    warnings = summaries.warnings(found.model_copy(update={"familiarity": unlike}))
    assert warnings == ["This looks like no head.", "A sequence is missing."]


def test_the_targets_and_their_sum_are_named(mask):
    found = result(mask)
    assert summaries.target_note(found) == ""
    first, second = found.lesions
    targets = {"lesions": [first.model_copy(update={"target": True}), second], "target_diameter_sum_px": 15.0}
    found = found.model_copy(update={**targets, "target_diameter_sum_mm": 15.2})
    assert summaries.target_note(found) == "Proposed RANO-BM target lesion 1; sum of longest diameters: 15 mm."
    stamp = ReviewStamp(number=1, reviewed_at=datetime(2026, 1, 1, tzinfo=UTC))
    chosen = found.model_copy(update={"review": stamp})
    assert summaries.target_note(chosen) == "RANO-BM target lesion 1; sum of longest diameters: 15 mm."
    without_mm = found.model_copy(update={"target_diameter_sum_mm": None})
    note = "Longest lesion 1; sum of longest diameters: 15 px. Targets of RANO-BM need a spacing."
    assert summaries.target_note(without_mm) == note


def test_labels_are_a_column_where_there_is_one(mask):
    found = result(mask)
    assert "Label" not in summaries.lesion_rows(found)[0]
    first, second = found.lesions
    named = found.model_copy(update={"lesions": [first.model_copy(update={"label": "left"}), second]})
    assert [row["Label"] for row in summaries.lesion_rows(named)] == ["left", ""]


def test_the_source_of_each_sequence_is_shown(mask):
    assert summaries.sources(result(mask)) == []
    used = result(mask).model_copy(update={"sequences": {"pre": "12 slices", "post": "14 slices"}})
    assert summaries.sources(used) == ["Pre-contrast T1: 12 slices", "Post-contrast T1: 14 slices"]


def test_the_table_has_uncertainty_if_it_was_estimated(mask):
    found = result(mask)
    assert "Uncert." not in summaries.lesion_rows(found)[0]
    asked = [lesion.model_copy(update={"uncertainty": 0.25}) for lesion in found.lesions]
    assert [row["Uncert."] for row in summaries.lesion_rows(found.model_copy(update={"lesions": asked}))] == [25, 25]
