"""labels.yaml: what it may say of a folder, and what it is refused for."""

import pytest
from tests.volume_folders import case, image, labelled, refused, save, study

from metseg_trainer.data import scan_folder


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("core: [1, 2]\nwhole: [1]\n", "whole lacks labels of core"),
        ("kern: [1]\n", "kern: Extra inputs are not permitted"),
        ("core: [1\n", "cannot be read as YAML"),
        ('files: {post: "{case}.nii.gz"}\n', "files names no mask"),
        ('files: {mask: "{case}.nii.gz"}\n', "files names no image"),
        ('files: {post: "a.nii.gz", mask: "{case}.nii.gz"}\n', "a pattern of files lacks {case}"),
    ],
)
def test_an_invalid_labels_file_is_refused(tmp_path, content, words):
    case(tmp_path)
    (tmp_path / "labels.yaml").write_text(content)
    assert words in refused(tmp_path)


def test_a_labels_file_describes_any_other_folder(tmp_path):
    for number in (1, 2):
        save(tmp_path / f"s{number}" / "gd.nii.gz", image(number))
        save(tmp_path / f"s{number}" / "fl.nii.gz", image(number + 5))
        save(tmp_path / f"s{number}" / "roi.nii.gz", labelled(5, 6))
    (tmp_path / "labels.yaml").write_text(
        'files: {post: "{case}/gd.nii.gz", flair: "{case}/fl.nii.gz", mask: "{case}/roi.nii.gz"}\n'
        "core: [5]\nwhole: [5, 6]\n"
    )
    patients, audit = scan_folder(tmp_path)
    assert [patient.id for patient in patients] == ["s1", "s2"]
    assert (audit.layout, audit.structures) == ("files named by labels.yaml", {"core and whole": 2})
    assert [patient.lesion_pixels for patient in patients] == [32, 32]


def test_a_labels_file_names_a_person_where_one_pattern_does(tmp_path):
    for name in ("s1", "s2"):
        save(tmp_path / "p1" / f"{name}_gd.nii.gz", image())
        save(tmp_path / "roi" / f"{name}.nii.gz", labelled(5))
    (tmp_path / "labels.yaml").write_text(
        'files: {post: "{person}/{case}_gd.nii.gz", mask: "roi/{case}.nii.gz"}\ncore: [5]\nwhole: [5]\n'
    )
    patients, _ = scan_folder(tmp_path)
    assert [(patient.id, patient.person) for patient in patients] == [("s1", "p1"), ("s2", "p1")]


def test_a_labels_file_must_say_what_a_mask_means(tmp_path):
    save(tmp_path / "s1_gd.nii.gz", image())
    save(tmp_path / "s1_roi.nii.gz", labelled(5))
    (tmp_path / "labels.yaml").write_text('files: {post: "{case}_gd.nii.gz", mask: "{case}_roi.nii.gz"}\n')
    assert "labels.yaml names a mask but not what its labels mean" in refused(tmp_path)


def test_core_and_whole_may_have_separate_masks(tmp_path):
    save(tmp_path / "s1_gd.nii.gz", image())
    save(tmp_path / "s1_core.nii.gz", labelled(9))
    save(tmp_path / "s1_whole.nii.gz", labelled(0, 9, 9))
    (tmp_path / "labels.yaml").write_text(
        'files: {post: "{case}_gd.nii.gz", core: "{case}_core.nii.gz", whole: "{case}_whole.nii.gz"}\n'
    )
    truth = study(tmp_path).truth
    assert (truth.core.sum(), truth.whole.sum()) == (16, 48)
