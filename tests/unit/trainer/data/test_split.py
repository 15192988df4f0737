"""The split: by person, stratified, reproducible, and checked before it is used."""

import hashlib
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from metseg.errors import DatasetError
from metseg_trainer.data import (
    Patient,
    SlicePair,
    Split,
    VolumeSlice,
    check_split,
    k_fold_splits,
    leave_site_out_split,
    read_split,
    split_by_slice,
    split_patients,
    split_reviewed,
    split_sha256,
    write_split,
)
from metseg_trainer.data.layouts import StructureLabels, VolumeFiles

SITES = {"CS": 15, "DU": 30, "HT": 25, "EZ": 1, "FG": 3}


@pytest.fixture
def patient(tmp_path):
    def make(name: str, site: str = "unknown", load: int = 1, part=None, picture: bytes | None = None) -> Patient:
        image = tmp_path / f"{name.replace('/', '-')}.png"
        image.write_bytes(picture if picture is not None else name.encode())
        return Patient(name, site, (SlicePair(image, image, image.stem),), load, part)

    return make


@pytest.fixture
def cohort(patient):
    return [
        patient(f"TCGA_{site}_{number:04d}_20000101", site, load=number * 37 % 101)
        for site, count in SITES.items()
        for number in range(count)
    ]


@st.composite
def cohorts(draw):
    """Persons of some sites, each with one or more studies; slices do not matter."""
    sites = draw(st.lists(st.sampled_from(("CS", "DU", "HT")), min_size=4, max_size=30))
    return [
        Patient(f"TCGA_{site}_{number:04d}_{year}0101", site, (), load, None)
        for number, site in enumerate(sites)
        for load, year in enumerate(range(2000, 2000 + draw(st.integers(1, 3))), start=number * 37 % 101)
    ]


def persons(ids):
    return {id.rpartition("_")[0] for id in ids}


def is_sound(result: Split, cohort) -> bool:
    """Every study and every person is on one side, none is missing, no side is empty."""
    sides = (result.train, result.validation, result.test)
    everyone = [id for side in sides for id in side]
    return (
        sorted(everyone) == sorted(patient.id for patient in cohort)
        and sum(len(persons(side)) for side in sides) == len(persons(everyone))
        and all(sides)
    )


def png(tmp_path: Path, pixels: np.ndarray) -> bytes:
    Image.fromarray(pixels).save(tmp_path / "picture.png")
    return (tmp_path / "picture.png").read_bytes()


def test_every_patient_is_on_one_side_and_sides_have_their_sizes(cohort):
    result = split_patients(cohort, seed=1)
    everyone = [*result.train, *result.validation, *result.test]
    assert sorted(everyone) == sorted(patient.id for patient in cohort)
    assert (len(result.train), len(result.validation), len(result.test)) == (53, 6, 15)


def test_sites_and_lesion_loads_are_alike_on_both_sides(cohort):
    test = set(split_patients(cohort, seed=1).test)
    for site in ("CS", "DU", "HT"):
        of_site = [patient for patient in cohort if patient.site == site]
        drawn = [patient for patient in of_site if patient.id in test]
        assert abs(len(drawn) - 0.2 * len(of_site)) <= 1
        thirds = Counter(
            sorted(of_site, key=lambda one: (one.lesion_pixels, one.id)).index(patient) * 3 // len(of_site)
            for patient in drawn
        )
        assert max(thirds.values()) - min(thirds.get(third, 0) for third in range(3)) <= 1


def test_the_split_depends_on_the_seed_not_the_order(cohort):
    assert split_patients(cohort, seed=3) == split_patients(cohort[::-1], seed=3)
    assert split_patients(cohort, seed=3) != split_patients(cohort, seed=4)


def test_the_draw_is_the_same_on_every_machine(cohort):
    assert (
        split_sha256(split_patients(cohort, seed=2026))
        == "812ce5f33d1970f66d1dd928c10e76b070bd713751c67dd1b22d0de689f7ff33"
    )


def test_three_patients_are_enough_and_two_are_not(patient):
    three = [patient(name) for name in ("a", "b", "c")]
    result = split_patients(three, seed=0)
    assert (len(result.train), len(result.validation), len(result.test)) == (1, 1, 1)
    with pytest.raises(DatasetError, match="at least 3 patients"):
        split_patients(three[:2], seed=0)


def test_the_folder_test_is_the_test_side(patient):
    patients = [patient(f"p{n}", part="test" if n < 3 else "train") for n in range(13)]
    result = split_patients(patients, seed=0)
    assert result.test == ("p0", "p1", "p2")
    assert (len(result.train), len(result.validation)) == (9, 1)


def test_a_test_folder_alone_is_refused(patient):
    with pytest.raises(DatasetError, match="at least 2 patients in addition to those in test/"):
        split_patients([patient("a", part="test"), patient("b", part="test")], seed=0)


def test_two_studies_of_one_person_stay_together(patient):
    patients = [
        patient(f"TCGA_CS_{number:04d}_{year}0101", "CS", load=number) for number in range(12) for year in (1999, 2001)
    ]
    for seed in range(8):
        result = split_patients(patients, seed)
        sides = [{name[:12] for name in side} for side in (result.train, result.validation, result.test)]
        assert len(set.union(*sides)) == sum(map(len, sides)) == 12


def test_split_json_round_trips_with_its_sha256(cohort, tmp_path):
    result = split_patients(cohort, seed=5)
    write_split(result, tmp_path / "split.json")
    assert read_split(tmp_path / "split.json") == result
    assert hashlib.sha256((tmp_path / "split.json").read_bytes()).hexdigest() == split_sha256(result)


@pytest.mark.parametrize("content", ["", "[]", '{"train": []}', '{"train": 1, "validation": 2, "test": 3}'])
def test_a_file_other_than_a_split_is_refused(tmp_path, content):
    (tmp_path / "split.json").write_text(content)
    with pytest.raises(DatasetError, match="not a split"):
        read_split(tmp_path / "split.json")


def test_a_patient_on_two_sides_is_refused(patient):
    patients = [patient(name) for name in "abc"]
    with pytest.raises(DatasetError, match=r"patient a twice \(in train and test\)"):
        check_split(Split(("a",), ("b",), ("a", "c")), patients)


def test_a_patient_twice_on_one_side_is_refused(patient):
    with pytest.raises(DatasetError, match="patient a twice"):
        check_split(Split(("a", "a"), ("b",), ("c",)), [patient(name) for name in "abc"])


def test_a_missing_and_an_unknown_patient_are_refused(patient):
    patients = [patient(name) for name in "abcd"]
    with pytest.raises(DatasetError, match="lacks patient d"):
        check_split(Split(("a",), ("b",), ("c",)), patients)
    with pytest.raises(DatasetError, match="names the unknown patient d"):
        check_split(Split(("a", "d"), ("b",), ("c",)), patients[:3])


def test_training_on_the_folder_test_is_refused(patient):
    patients = [patient("a", part="test"), patient("b"), patient("c")]
    with pytest.raises(DatasetError, match="is in test/, but the split has it in train"):
        check_split(Split(("a",), ("b",), ("c",)), patients)


def test_a_person_on_two_sides_under_two_dates_is_refused(patient):
    patients = [patient("TCGA_CS_4941_19990101"), patient("TCGA_CS_4941_20010101"), patient("b")]
    with pytest.raises(DatasetError, match="same person"):
        check_split(Split((patients[0].id,), ("b",), (patients[1].id,)), patients)


def test_one_image_with_two_names_on_two_sides_is_refused(patient, tmp_path):
    same = png(tmp_path, np.arange(1024, dtype=np.uint16).astype(np.uint8).reshape(32, 32))
    patients = [patient("a", picture=same), patient("b"), patient("c", picture=same)]
    with pytest.raises(DatasetError, match="hold the same image"):
        check_split(Split(("a",), ("b",), ("c",)), patients)
    check_split(Split(("a", "c"), ("b",), ()), patients)


def test_blank_slices_may_be_equal(patient, tmp_path):
    blank = png(tmp_path, np.zeros((32, 32), np.uint8))
    patients = [patient("a", picture=blank), patient("b"), patient("c", picture=blank)]
    check_split(Split(("a",), ("b",), ("c",)), patients)


@given(cohorts(), st.integers(0, 9))
def test_any_split_keeps_persons_together_and_loses_none(cohort, seed):
    assert is_sound(split_patients(cohort, seed), cohort)


@given(cohorts(), st.integers(2, 6), st.integers(0, 9))
def test_any_folds_test_every_person_once(cohort, count, seed):
    people = len(persons(patient.id for patient in cohort))
    parts = k_fold_splits(cohort, min(count, people), seed)
    assert sorted(id for part in parts for id in part.test) == sorted(patient.id for patient in cohort)
    assert all(is_sound(part, cohort) for part in parts)
    sizes = [len(persons(part.test)) for part in parts]
    assert max(sizes) - min(sizes) <= 1


@given(cohorts(), st.integers(2, 6))
def test_any_folds_divide_each_stratum_evenly(cohort, count):
    people = len(persons(patient.id for patient in cohort))
    parts = k_fold_splits(cohort, min(count, people), seed=0)
    for site in ("CS", "DU", "HT"):
        of_site = [sum(id.split("_")[1] == site for id in persons(part.test)) for part in parts]
        if sum(of_site) >= 6:  # the size from which a site is a stratum
            assert max(of_site) - min(of_site) <= 1


@given(cohorts(), st.sampled_from(("CS", "DU", "HT")), st.integers(0, 9))
def test_a_left_out_site_is_the_whole_test_side(cohort, site, seed):
    of_site = {patient.id for patient in cohort if patient.site == site}
    others = len(persons(patient.id for patient in cohort)) - len(persons(of_site))
    if of_site and others >= 2:
        result = leave_site_out_split(cohort, site, seed)
        assert is_sound(result, cohort)
        assert set(result.test) == of_site
    else:
        with pytest.raises(DatasetError, match="cannot be left out"):
            leave_site_out_split(cohort, site, seed)


@pytest.mark.parametrize("count", [2, 5, 10])
def test_in_cross_validation_every_patient_is_tested_once(cohort, count):
    parts = k_fold_splits(cohort, count, seed=1)
    assert sorted(id for part in parts for id in part.test) == sorted(patient.id for patient in cohort)
    for part in parts:
        check_split(part, cohort)
        assert abs(len(part.test) - len(cohort) / count) <= len(SITES)
    assert parts == k_fold_splits(cohort[::-1], count, seed=1)
    assert parts != k_fold_splits(cohort, count, seed=2)


def test_folds_have_the_same_mix_of_sites(cohort):
    for part in k_fold_splits(cohort, 5, seed=1):
        sites = Counter(id.split("_")[1] for id in part.test)
        assert abs(sites["DU"] - 6) <= 1
        assert abs(sites["HT"] - 5) <= 1


def test_both_studies_of_a_person_are_tested_in_one_fold(patient):
    cohort = [patient(f"TCGA_CS_{n:04d}_{date}") for n in range(8) for date in ("19990101", "20010101")]
    for part in k_fold_splits(cohort, 4, seed=3):
        check_split(part, cohort)
        assert len(part.test) == 4


def test_more_folds_than_persons_are_refused(cohort):
    for wrong in (1, 500):
        with pytest.raises(DatasetError, match="folds"):
            k_fold_splits(cohort, wrong, seed=1)


def test_leaving_a_site_out_tests_only_that_site(cohort):
    part = leave_site_out_split(cohort, "HT", seed=1)
    check_split(part, cohort)
    assert sorted(part.test) == sorted(one.id for one in cohort if one.site == "HT")
    assert not any("_HT_" in id for id in (*part.train, *part.validation))


def test_a_site_without_patients_cannot_be_left_out(cohort):
    with pytest.raises(DatasetError, match="cannot be left out"):
        leave_site_out_split(cohort, "XX", seed=1)


def test_a_split_by_slice_leaks_by_design_and_loses_no_slice(patient):
    whole = [
        replace(patient(f"P{n}"), slices=tuple(SlicePair(Path(f"{n}_{k}"), Path("m"), f"{n}_{k}") for k in range(40)))
        for n in range(3)
    ]
    parts, result = split_by_slice(whole, seed=1)
    assert split_by_slice(whole, seed=1) == (parts, result)
    assert sorted(pair.name for part in parts for pair in part.slices) == sorted(
        f"{n}_{k}" for n in range(3) for k in range(40)
    )
    sizes = Counter()
    for part in parts:
        sizes[part.id.split("/")[1]] += len(part.slices)
    assert sizes["train"] > sizes["test"] > sizes["validation"] > 0
    for n in range(3):
        assert f"P{n}/train" in result.train
        assert f"P{n}/test" in result.test


def reviewed(*persons: str) -> list[Patient]:
    """Two studies of each person, as `fetch_reviewed` stores them."""
    found = []
    for person, case in ((person, case) for person in persons for case in "ab"):
        files = VolumeFiles(f"{person}/{case}", person, None, {}, (), StructureLabels(core=None, whole=None))
        found.append(Patient(files.id, "reviewed", (VolumeSlice(0, "0"),), 1, None, files))
    return found


def test_reviewed_patients_never_become_test_patients_by_what_is_added():
    persons = [f"person-{number}" for number in range(40)]
    for count in range(3, 40):
        before, after = (split_reviewed(reviewed(*persons[:each]), 0) for each in (count, count + 1))
        assert before.train and before.validation and before.test
        assert not {*before.train} & {*after.test, *after.validation}
    sides = split_reviewed(reviewed(*persons), 0)
    for side in (sides.test, sides.validation, sides.train):
        assert all(f"{id.split('/')[0]}/{case}" in side for id in side for case in "ab")


def test_reviewed_studies_of_two_patients_are_refused():
    with pytest.raises(DatasetError, match="of 3 patients or more are needed"):
        split_reviewed(reviewed("one", "two"), 0)
