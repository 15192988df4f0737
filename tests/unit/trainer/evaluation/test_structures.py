"""Metrics by structure: Dice where a structure is known, and drawn lesions by diameter at the best operating point."""

from dataclasses import replace

import numpy as np
import pytest

from metseg import phantom
from metseg.imaging import Preprocessor
from metseg_trainer.data.structures import PREPROCESSING
from metseg_trainer.evaluation import StructureCase, evaluate_structures, format_structures


class Oracle:
    """Stands in for a network: its output is given."""

    def eval(self):
        return self

    def to(self, *_, **__):
        return self


@pytest.fixture
def case():
    head = phantom.head(0, slices=6, size_px=64, spacing_mm=(5.0, 3.6, 3.6), lesions=1)
    core = np.zeros(head.volume.shape, np.int32)
    core[2, 20:24, 20:24], core[3, 40:48, 40:48] = 1, 2
    whole = core > 0
    whole[3, 38:50, 38:50] = True
    model_input = Preprocessor(PREPROCESSING).prepare(head.volume)
    return StructureCase("one", model_input, (True, True, True), (5.0, 1.0, 1.0), core, whole, diameters_mm=(4.0, 12.0))


def evaluate(monkeypatch, case, core, whole):
    maps = np.stack([core, whole]).astype(np.float32)
    monkeypatch.setattr("metseg_trainer.evaluation.structures.predict_structures", lambda network, case: maps)
    monkeypatch.setattr("metseg_trainer.evaluation.structures.channels_last", lambda network: network)
    return evaluate_structures(Oracle(), {"set": [case], "empty": []})


def test_a_perfect_prediction_scores_1_in_both_structures(monkeypatch, case):
    figures = evaluate(monkeypatch, case, case.core > 0, case.whole)
    assert list(figures) == ["set"]
    assert (figures["set"]["core"], figures["set"]["whole"]) == (1, 1)
    assert figures["set"]["drawn"]["found"] == {"3 to 6 mm": 1, "from 10 mm": 1}
    assert figures["set"]["drawn"]["false_per_study"] == 0


def test_a_missed_and_a_false_lesion_count(monkeypatch, case):
    core = (case.core == 2).astype(float)
    core[0, 5:9, 5:9] = 1
    drawn = evaluate(monkeypatch, case, core, case.whole)["set"]["drawn"]
    assert drawn["found"] == {"3 to 6 mm": 0, "from 10 mm": 1}
    assert drawn["false_per_study"] == 1
    assert drawn["f1"] == pytest.approx(0.5)


def test_unknown_truth_is_neither_right_nor_wrong(monkeypatch, case):
    core = (case.core > 0).astype(float)
    core[0, 5:9, 5:9] = 1
    unknown = np.zeros(core.shape, bool)
    unknown[0, 4:10, 4:10] = True
    figures = evaluate(monkeypatch, replace(case, unknown=unknown), core, case.whole)["set"]
    assert figures["core"] == 1
    assert figures["drawn"]["false_per_study"] == 0


def test_a_lesion_must_reach_the_high_threshold(monkeypatch, case):
    core = (case.core > 0) * 0.97
    core[0, 5:9, 5:9] = 0.6
    drawn = evaluate(monkeypatch, case, core, case.whole)["set"]["drawn"]
    assert drawn["high"] > 0.6
    assert drawn["false_per_study"] == 0


def test_a_structure_without_truth_has_no_metric(monkeypatch, case):
    figures = evaluate(monkeypatch, replace(case, core=None, diameters_mm=()), case.whole, case.whole)
    assert figures["set"] == {"cases": 1, "whole": 1.0}
    assert format_structures(figures).splitlines()[1].split() == ["set", "1", "-", "1.000"]
