"""Metrics by structure: studies with a known core, unknown truth, and operating points by lesion-wise F1."""

from dataclasses import replace

import numpy as np
import pytest
from tests.structures import write_brisc

from metseg.contracts import OperatingPoint, Preprocessing
from metseg.imaging import Volume
from metseg_trainer.data import scan_folder, write_phantoms
from metseg_trainer.evaluation import EvaluationPatient, evaluate_model, format_structures, structures
from metseg_trainer.evaluation.candidates import LesionCase, Peaks, free_response
from metseg_trainer.evaluation.corruptions import CORRUPTIONS, SINGLE_SLICES
from metseg_trainer.evaluation.operating_point import (
    choose_lesion_operating_point,
    choose_single_slice_seed,
)
from metseg_trainer.evaluation.patients import load_patients
from metseg_trainer.evaluation.structure_patients import brisc_slices, drawn_patients, volume_patients


class BrightPost:
    """A model whose core is where post-contrast T1 stands out, and whose whole is where any sequence does."""

    max_concurrency = batch_size = 1

    def __init__(self):
        self.preprocessing = Preprocessing(pixel_scale=1.0, missing_sequences="zero")
        self.operating_points = {"core": OperatingPoint(), "whole": OperatingPoint()}

    def __call__(self, tensor):
        core = (tensor[..., 2] > 2.5).astype(np.float32)
        return np.stack([core, np.maximum(core, (tensor[..., 1] > 2.5).astype(np.float32))])


@pytest.fixture
def patient():
    """Two bright squares in a uniform head, the core of both known."""
    pixels = np.zeros((4, 64, 64, 3), np.uint8)
    pixels[:, 8:56, 8:56] = 90
    pixels[:, 8:56:2, 8:56:2] = 100
    labels = np.zeros((4, 64, 64), np.int32)
    labels[1, 20:24, 20:24], labels[2, 40:48, 40:48] = 1, 2
    pixels[labels > 0, 2] = 250
    volume = Volume(pixels, ("a", "b", "c", "d"), (5.0, 0.9, 0.9))
    return EvaluationPatient("P0", "ward", volume, labels > 0, (5.0, 0.9, 0.9), "core", labels=labels)


def test_a_perfect_core_scores_1_and_each_lesion_is_found(patient):
    result = evaluate_model("bright", BrightPost(), [patient], {})
    assert result.dice == {"P0": 1}
    lesions = result.card().lesions
    assert all(one.sensitivity == 1 for one in lesions.by_diameter.values())
    assert lesions.false_positives.mean == 0


def test_lesions_are_grouped_by_volume(patient):
    found = evaluate_model("bright", BrightPost(), [patient], {}).card().lesions.by_volume
    assert {name: one.lesions for name, one in found.items()} == {"27 to 275 mm3": 2}, "16 and 64 voxels of 4 mm3"


def test_peaks_are_of_lesions_and_of_false_components():
    probability = np.zeros((1, 40, 40), np.float32)
    labels = np.zeros((1, 40, 40), np.int32)
    labels[0, 5:9, 5:9], labels[0, 20:24, 20:24], labels[0, 30:34, 5:9] = 1, 2, 3
    probability[0, 4:7, 4:7] = 0.6
    probability[0, 8, 8] = 0.9
    probability[0, 30:32, 5:7] = 0.4
    probability[0, 5:10, 30:35] = 0.7
    probability[0, 36, 36] = 0.95
    unknown = np.zeros(labels.shape, bool)
    case = LesionCase(probability, labels, unknown, voxel_mm3=4.0)
    point = OperatingPoint(threshold=0.5, min_volume_mm3=0)
    peaks = Peaks.of(case, point)
    assert peaks.lesions == pytest.approx([0.9, 0, 0]) and sorted(peaks.false) == pytest.approx([0.7, 0.95])
    large = Peaks.of(case, point.model_copy(update={"min_volume_mm3": 20.0}))
    assert large.lesions == pytest.approx([0.6, 0, 0]) and large.false == pytest.approx([0.7])
    unknown[0, 36, 36] = True
    assert Peaks.of(case, point).false == pytest.approx([0.7])


def test_the_free_response_curve_falls_with_the_seed_threshold():
    curve = free_response([Peaks([0.9, 0.0], [0.7], 0.5), Peaks([0.6], [0.95, 0.55], 0.5)])
    points = {point.seed_threshold: (point.sensitivity, point.false_positives) for point in curve}
    assert points[0.5] == pytest.approx((2 / 3, 1.5))
    assert points[0.7] == pytest.approx((1 / 3, 1.0))
    assert points[0.95] == pytest.approx((0, 0.5))
    assert min(points) == 0.5 and list(points) == sorted(points)
    assert free_response([Peaks([], [0.7], 0.5)]) == [], "no lesion that could be found"


def test_at_its_own_seed_the_curve_has_the_figures_of_the_evaluation(patient):
    lesions = evaluate_model("bright", BrightPost(), [patient], {}).card().lesions
    [at_seed] = [point for point in lesions.froc if point.seed_threshold == OperatingPoint().threshold]
    assert at_seed.sensitivity == 1 and at_seed.false_positives == lesions.false_positives.mean == 0


def test_where_the_truth_is_unknown_nothing_is_right_or_wrong(patient):
    pixels = patient.volume.pixels.copy()
    pixels[0, 30:36, 30:36, 2] = 250
    with_false = replace(patient, volume=replace(patient.volume, pixels=pixels))
    unknown = np.zeros(patient.truth.shape, bool)
    unknown[0, 28:38, 28:38] = True
    counted, excused = (
        evaluate_model("bright", BrightPost(), [one], {}) for one in (with_false, replace(with_false, unknown=unknown))
    )
    assert counted.dice["P0"] < 1
    assert counted.card().lesions.false_positives.mean == 1
    assert excused.dice["P0"] == 1
    assert excused.card().lesions.false_positives.mean == 0


def test_a_core_is_not_judged_without_the_sequence_that_shows_it(patient):
    corruptions = {key: CORRUPTIONS[key] for key in ("flair-only", "post-only", "noise")}
    result = evaluate_model(
        "bright", BrightPost(), [replace(patient, unknown=np.zeros_like(patient.truth))], corruptions
    )
    assert result.corrupted.keys() == {SINGLE_SLICES, "post-only", "noise"}
    assert result.corrupted["post-only"]["P0"] == 1


def case(labels, probability, unknown=None):
    return LesionCase(np.asarray(probability, np.float32), labels, unknown, voxel_mm3=4.0)


def test_a_false_component_raises_the_seed_threshold(patient):
    probability = (patient.labels > 0) * 0.97
    probability[0, 5:9, 5:9] = 0.6
    point = choose_lesion_operating_point([case(patient.labels, probability)])
    assert point.seed_threshold > 0.6
    assert point.threshold <= 0.5


def test_single_slices_choose_a_seed_threshold_alone(patient):
    index = int(patient.truth.any(axis=(1, 2)).argmax())
    labels = patient.labels[index : index + 1]
    probability = (labels > 0) * 0.8
    point = OperatingPoint(threshold=0.3, seed_threshold=0.99, min_volume_mm3=5)
    chosen = choose_single_slice_seed(point, [case(labels, probability)])
    assert chosen.single_slice_seed_threshold <= 0.8
    assert chosen.model_copy(update={"single_slice_seed_threshold": None}) == point
    probability[0, 5:9, 5:9] = 0.75
    assert choose_single_slice_seed(point, [case(labels, probability)]).single_slice_seed_threshold > 0.75
    assert choose_single_slice_seed(point, []) == point


def test_a_false_component_in_unknown_truth_changes_nothing(patient):
    probability = (patient.labels > 0) * 0.6
    probability[0, 5:9, 5:9] = 0.6
    unknown = np.zeros(patient.truth.shape, bool)
    unknown[0, 5:9, 5:9] = True
    assert choose_lesion_operating_point([case(patient.labels, probability, unknown)]).seed_threshold == 0.5


def test_a_low_threshold_that_swells_lesions_is_not_chosen(patient):
    probability = (patient.labels > 0) * 0.97
    probability[2, 36:52, 36:52] = np.maximum(probability[2, 36:52, 36:52], 0.45)
    assert choose_lesion_operating_point([case(patient.labels, probability)]).threshold >= 0.5


def test_small_false_components_raise_the_smallest_volume(patient):
    probability = (patient.labels > 0) * 0.6
    probability[0, 5, 5] = 0.99
    point = choose_lesion_operating_point([case(patient.labels, probability)])
    assert point.min_volume_mm3 == 5


def test_without_cases_the_default_is_used():
    assert choose_lesion_operating_point([]) == OperatingPoint()


def test_a_slice_of_brisc_shows_post_contrast_t1_alone_and_its_core_is_known(tmp_path):
    write_brisc(tmp_path)
    patients = list(brisc_slices(tmp_path, "validation"))
    assert len(patients) == 3
    assert all(one.structure == "core" and one.truth.any() for one in patients)
    assert all(one.missing_sequences == ("pre-contrast", "FLAIR") for one in patients)
    assert {one.site for one in patients} == {"glioma"}


def test_studies_of_volumes_give_the_structures_that_their_labels_name(tmp_path):
    write_phantoms(tmp_path, patients=1, slices=8, size_px=128, layout="brats2013")
    studies, _ = scan_folder(tmp_path)
    [core], [whole] = (list(volume_patients(studies, structure)) for structure in ("core", "whole"))
    assert (core.structure, whole.structure) == ("core", "whole")
    assert core.truth.any()
    assert not (core.truth & ~whole.truth).any()


def test_metastases_are_drawn_alike_each_time_and_the_missing_sequences_are_copies(tmp_path):
    write_phantoms(tmp_path, patients=2, slices=8, size_px=160)
    patients, _ = scan_folder(tmp_path)
    drawn, again, alone = (list(drawn_patients(patients, post_alone=post_alone)) for post_alone in (False, False, True))
    assert [one.id for one in drawn] == [one.id for one in alone] != []
    for one, other in zip(drawn, again, strict=True):
        assert np.array_equal(one.volume.pixels, other.volume.pixels)
        assert one.labels.max() == len(one.diameters_mm) > 0
        assert min(one.diameters_mm) >= 3
        assert one.vessels.any() and one.vessels.mean() < 0.2
    assert all(one.missing_sequences == ("pre-contrast", "FLAIR") for one in alone)
    pixels = alone[0].volume.pixels
    assert np.array_equal(pixels[..., 0], pixels[..., 2])


def test_oedema_is_drawn_around_a_core_and_belongs_to_the_whole(tmp_path):
    write_phantoms(tmp_path, patients=3, slices=8, size_px=160)
    patients, _ = scan_folder(tmp_path)
    before = {one.id: one for one in load_patients(patients)}
    cores, wholes = (list(drawn_patients(patients, structure=structure)) for structure in ("core", "whole"))
    assert [one.id for one in cores] == [one.id for one in wholes] != []
    around = brighter = 0
    for core, whole in zip(cores, wholes, strict=True):
        assert np.array_equal(core.volume.pixels, whole.volume.pixels)
        assert whole.structure == "whole" and not (core.truth & ~whole.truth).any()
        assert whole.unknown[before[whole.id].truth].all(), "the patient's own lesion is not evaluated"
        oedema = whole.truth & ~core.truth & ~whole.unknown
        flair = [one.volume.pixels[..., 1].astype(int) for one in (before[whole.id], whole)]
        around += int(oedema.sum())
        brighter += int((flair[1] > flair[0])[oedema].sum())
    assert around > 100 and brighter > 0.95 * around
    assert not list(drawn_patients(patients, post_alone=True, structure="whole")), "oedema is seen on FLAIR"


def test_the_point_of_the_whole_suits_drawn_metastases_too(patient, monkeypatch):
    class Graded(BrightPost):
        """A model that is sure of bright FLAIR, and at 0.3 of what is less bright."""

        def __call__(self, tensor):
            flair = tensor[..., 1]
            whole = np.where(flair > 2.5, 1.0, 0.3 * (flair > 1)).astype(np.float32)
            return np.stack([np.zeros_like(whole), whole])

    def shows(brightness: int) -> EvaluationPatient:
        pixels = patient.volume.pixels.copy()
        pixels[1:3, 20:40, 20:40, 1], truth = brightness, np.zeros(patient.truth.shape, np.bool_)
        pixels[1:3, 44:52, 44:52, 1], unknown = 140, truth.copy()
        truth[1:3, 20:40, 20:40] = unknown[1:3, 44:52, 44:52] = True
        return replace(patient, volume=replace(patient.volume, pixels=pixels), truth=truth, unknown=unknown)

    drawn = {"core": [], "whole": []}
    monkeypatch.setattr(structures, "load_patients", lambda patients: [shows(250)])
    monkeypatch.setattr(structures, "drawn_patients", lambda patients, structure="core", **_: drawn[structure])
    assert structures.choose_structure_points(Graded(), [])["whole"].threshold == 0.5
    drawn["whole"] = [shows(110)]
    assert structures.choose_structure_points(Graded(), [])["whole"].threshold == 0.3


def test_the_table_names_each_set_with_its_figures(patient):
    result = evaluate_model("bright", BrightPost(), [patient], {})
    header, line = format_structures({"drawn metastases, core": result}).splitlines()
    assert header.split()[:2] == ["set", "studies"]
    assert line.startswith("drawn metastases, core")
    assert "1.000" in line
    assert "found" in header
    assert "below 6 mm 1.00 of 1" in line
