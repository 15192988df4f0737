"""The contents of a training folder: layouts, pairs, patients and everything left out."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from metseg.errors import DatasetError
from metseg_trainer.data import fingerprint, load_patient, read_mask, scan_folder

SIDE = 32


def picture(path: Path, seed: int = 0, shape: tuple[int, ...] = (SIDE, SIDE, 3)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, shape, np.uint8)).save(path)


def truth(path: Path, pixels: int = 0, shape: tuple[int, int] = (SIDE, SIDE)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = np.zeros(shape, np.uint8)
    mask.flat[:pixels] = 255
    Image.fromarray(mask).save(path)


def public(folder: Path, patient: str, areas: list[int], seed: int = 0) -> None:
    for number, area in enumerate(areas, start=1):
        picture(folder / patient / f"{patient}_{number}.tif", seed * 1000 + number)
        truth(folder / patient / f"{patient}_{number}_mask.tif", area)


def generic(folder: Path, name: str, seed: int = 0, pixels: int = 1) -> None:
    picture(folder / "images" / name, seed)
    truth(folder / "masks" / name, pixels)


def test_the_public_layout_is_read_unchanged(tmp_path):
    public(tmp_path / "kaggle_3m", "TCGA_CS_4941_19960909", [0, 5, 7], seed=1)
    public(tmp_path / "kaggle_3m", "TCGA_DU_5849_19950405", [3], seed=2)
    (tmp_path / "kaggle_3m" / "data.csv").write_text("Patient,death01\n")
    (tmp_path / "kaggle_3m" / "README.md").write_text("stray")
    patients, audit = scan_folder(tmp_path)
    assert [(p.id, p.site, len(p.slices), p.lesion_pixels, p.subset) for p in patients] == [
        ("TCGA_CS_4941_19960909", "CS", 3, 12, None),
        ("TCGA_DU_5849_19950405", "DU", 1, 3, None),
    ]
    assert (audit.patients, audit.slices, audit.lesion_slices, audit.sites) == (2, 4, 3, {"CS": 1, "DU": 1})


def test_slices_are_in_natural_order(tmp_path):
    public(tmp_path, "TCGA_CS_4941_19960909", [1] * 11)
    [patient], _ = scan_folder(tmp_path)
    assert [pair.name.rsplit("_", 1)[1] for pair in patient.slices] == [str(number) for number in range(1, 12)]


def test_a_nested_copy_of_a_tree_counts_once(tmp_path):
    for number in (1, 2):
        public(tmp_path / "kaggle_3m", f"TCGA_CS_494{number}_19960909", [2, 0], seed=number)
    shutil.copytree(tmp_path / "kaggle_3m", tmp_path / "lgg-mri-segmentation" / "kaggle_3m")
    patients, audit = scan_folder(tmp_path)
    assert (len(patients), audit.slices, audit.copies, audit.notes) == (2, 4, 4, ())


def test_an_incomplete_nested_copy_counts_once(tmp_path):
    public(tmp_path / "whole", "TCGA_CS_4941_19960909", [2, 0, 0])
    shutil.copytree(tmp_path / "whole", tmp_path / "copy")
    (tmp_path / "copy" / "TCGA_CS_4941_19960909" / "TCGA_CS_4941_19960909_2.tif").unlink()
    (tmp_path / "copy" / "TCGA_CS_4941_19960909" / "TCGA_CS_4941_19960909_2_mask.tif").unlink()
    _, audit = scan_folder(tmp_path)
    assert (audit.patients, audit.slices, audit.copies) == (1, 3, 2)


def test_a_file_unpaired_in_both_copies_is_named_once(tmp_path):
    public(tmp_path / "kaggle_3m", "TCGA_CS_4941_19960909", [2, 0])
    (tmp_path / "kaggle_3m" / "TCGA_CS_4941_19960909" / "TCGA_CS_4941_19960909_2_mask.tif").unlink()
    shutil.copytree(tmp_path / "kaggle_3m", tmp_path / "lgg-mri-segmentation" / "kaggle_3m")
    _, audit = scan_folder(tmp_path)
    assert (audit.slices, audit.copies, len(audit.images_without_mask)) == (1, 2, 1)
    assert "2 slices are in the folder more than once" in audit.text()


def test_equally_named_folders_with_different_content_are_different_patients(tmp_path):
    for seed, clinic in enumerate(("north", "south")):
        picture(tmp_path / clinic / "001" / "1.png", seed)
        truth(tmp_path / clinic / "001" / "1_mask.png", 4)
    patients, audit = scan_folder(tmp_path)
    assert [patient.id for patient in patients] == ["north/001", "south/001"]
    assert "2 different folders are named 001" in audit.text()


def test_the_generic_layout_gives_the_sides(tmp_path):
    for seed, (part, patient) in enumerate((("train", "anna"), ("train", "ben"), ("test", "cleo"))):
        generic(tmp_path / part, f"{patient}/1.png", 2 * seed)
        generic(tmp_path / part, f"{patient}/2.png", 2 * seed + 1)
    patients, audit = scan_folder(tmp_path)
    assert [(p.id, p.subset, len(p.slices)) for p in patients] == [
        ("anna", "train", 2),
        ("ben", "train", 2),
        ("cleo", "test", 2),
    ]
    assert audit.sites == {"unknown": 3}


def test_the_patient_folder_may_lie_above_images_and_masks(tmp_path):
    generic(tmp_path / "train" / "anna", "1.png")
    generic(tmp_path / "train" / "ben", "1.png", 1)
    patients, _ = scan_folder(tmp_path)
    assert [patient.id for patient in patients] == ["anna", "ben"]


@pytest.mark.parametrize("top", ["", "train", "mydata"])
def test_in_flat_names_the_patient_precedes_the_last_number(tmp_path, top):
    for seed, name in enumerate(("p1_001", "p1_002", "p2_001")):
        picture(tmp_path / top / f"{name}.png", seed)
        truth(tmp_path / top / f"{name}_mask.png", 3)
    patients, _ = scan_folder(tmp_path)
    assert [(patient.id, len(patient.slices)) for patient in patients] == [("p1", 2), ("p2", 1)]


def test_names_of_numbers_alone_make_every_slice_a_patient_and_say_so(tmp_path):
    for part, numbers in (("train", (1, 2)), ("test", (1,))):
        for number in numbers:
            generic(tmp_path / part, f"{number}.png", number + 10 * (part == "test"))
    patients, audit = scan_folder(tmp_path)
    assert [patient.id for patient in patients] == ["test/1", "train/1", "train/2"]
    assert "3 images have only a number for a name" in audit.text()


def test_a_patient_in_train_and_in_test_is_refused(tmp_path):
    generic(tmp_path / "train", "anna_1.png")
    generic(tmp_path / "test", "anna_2.png", 1)
    with pytest.raises(DatasetError, match="Patient anna is in more than one of train/, test/"):
        scan_folder(tmp_path)


def test_an_unpaired_file_is_left_out_and_named(tmp_path):
    public(tmp_path, "TCGA_CS_4941_19960909", [2, 3, 4])
    folder = tmp_path / "TCGA_CS_4941_19960909"
    (folder / "TCGA_CS_4941_19960909_1.tif").unlink()
    (folder / "TCGA_CS_4941_19960909_2_mask.tif").unlink()
    [patient], audit = scan_folder(tmp_path)
    assert [pair.name for pair in patient.slices] == ["TCGA_CS_4941_19960909_3"]
    assert audit.masks_without_image == ("TCGA_CS_4941_19960909/TCGA_CS_4941_19960909_1_mask.tif",)
    assert audit.images_without_mask == ("TCGA_CS_4941_19960909/TCGA_CS_4941_19960909_2.tif",)


def test_a_mask_of_another_size_is_named_with_both_sizes(tmp_path):
    public(tmp_path, "TCGA_CS_4941_19960909", [2, 3])
    name = "TCGA_CS_4941_19960909/TCGA_CS_4941_19960909_2_mask.tif"
    truth(tmp_path / name, 3, (SIDE, 40))
    [patient], audit = scan_folder(tmp_path)
    assert len(patient.slices) == 1
    assert audit.shape_mismatch == ((name, "32x40, the image 32x32"),)


def damage_mask(image: Path, mask: Path) -> Path:
    mask.write_bytes(mask.read_bytes()[:48])
    return mask


def damage_header(image: Path, mask: Path) -> Path:
    image.write_text("no image at all")
    return image


def damage_pixels(image: Path, mask: Path) -> Path:
    image.write_bytes(image.read_bytes()[: image.stat().st_size // 2])
    return image


@pytest.mark.parametrize("damage", [damage_mask, damage_header, damage_pixels])
def test_a_damaged_file_is_named_and_the_rest_of_the_patient_stays(tmp_path, damage):
    for number in (1, 2, 3):
        picture(tmp_path / "anna" / f"{number}.png", number)
        truth(tmp_path / "anna" / f"{number}_mask.png", number)
    damaged = damage(tmp_path / "anna" / "2.png", tmp_path / "anna" / "2_mask.png")
    [patient], audit = scan_folder(tmp_path)
    assert [pair.name for pair in patient.slices] == ["1", "3"]
    assert [name for name, _ in audit.unreadable] == [f"anna/{damaged.name}"]
    assert audit.lesion_slices == 2


def test_a_patient_with_slices_of_several_sizes_is_left_out_and_named(tmp_path):
    for number, side in ((1, 32), (2, 32), (3, 48)):
        picture(tmp_path / "anna" / f"{number}.png", number, (side, side, 3))
        truth(tmp_path / "anna" / f"{number}_mask.png", 1, (side, side))
    generic(tmp_path / "ben", "1.png")
    patients, audit = scan_folder(tmp_path)
    assert [patient.id for patient in patients] == ["ben"]
    assert audit.unusable_patients == (("anna", "slices of several sizes: 2 of 32x32, 1 of 48x48"),)


def test_a_constant_patient_is_left_out_and_named(tmp_path):
    truth(tmp_path / "anna" / "1.png")
    truth(tmp_path / "anna" / "1_mask.png")
    generic(tmp_path / "ben", "1.png")
    patients, audit = scan_folder(tmp_path)
    assert [patient.id for patient in patients] == ["ben"]
    assert [name for name, _ in audit.unusable_patients] == ["anna"]


def test_a_constant_slice_of_a_sound_study_stays(tmp_path):
    generic(tmp_path / "anna", "1.png")
    truth(tmp_path / "anna" / "images" / "2.png")
    truth(tmp_path / "anna" / "masks" / "2.png")
    [patient], audit = scan_folder(tmp_path)
    assert (len(patient.slices), audit.unreadable) == (2, ())


def test_a_multi_page_file_is_left_out_and_named(tmp_path):
    public(tmp_path, "TCGA_CS_4941_19960909", [2, 3])
    pages = [Image.fromarray(np.full((SIDE, SIDE), level, np.uint8)) for level in (0, 9)]
    for end in ("1.tif", "2_mask.tif"):
        path = tmp_path / "TCGA_CS_4941_19960909" / f"TCGA_CS_4941_19960909_{end}"
        pages[0].save(path, save_all=True, append_images=pages[1:])
    with pytest.raises(DatasetError, match="2 unreadable files"):
        scan_folder(tmp_path)


@pytest.mark.parametrize("content", ["nothing", "text", "images only"])
def test_a_folder_without_a_pair_is_refused_with_a_link_to_the_layouts(tmp_path, content):
    if content == "text":
        (tmp_path / "notes.txt").write_text("hello")
    if content == "images only":
        picture(tmp_path / "anna_1.png")
    with pytest.raises(DatasetError, match=r"docs/data\.md lists .*labels\.yaml describes any other"):
        scan_folder(tmp_path)


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="There is no folder"):
        scan_folder(tmp_path / "absent")


def test_of_two_files_with_one_name_the_first_is_used_with_a_note(tmp_path):
    picture(tmp_path / "anna" / "1.png", 1)
    picture(tmp_path / "anna" / "1.tif", 2)
    truth(tmp_path / "anna" / "1_mask.png", 1)
    [patient], audit = scan_folder(tmp_path)
    assert patient.slices[0].image.name == "1.png"
    assert "anna/1.tif has the name of another file" in audit.text()


def test_the_audit_lists_ten_names_per_kind_and_its_json_all(tmp_path):
    generic(tmp_path / "anna", "1.png")
    for number in range(2, 15):
        picture(tmp_path / "anna" / "images" / f"{number}.png", number)
    _, audit = scan_folder(tmp_path)
    assert "13 images without a mask, left out:" in audit.text()
    assert "... and 3 more" in audit.text()
    assert len(json.loads(audit.to_json())["images_without_mask"]) == 13


def test_a_loaded_patient_pairs_each_slice_with_its_mask(tmp_path):
    public(tmp_path, "TCGA_CS_4941_19960909", list(range(1, 13)))
    [patient], _ = scan_folder(tmp_path)
    volume, mask = load_patient(patient)
    assert volume.shape == mask.shape == (12, SIDE, SIDE)
    assert mask.dtype == np.bool_
    assert mask.sum(axis=(1, 2)).tolist() == list(range(1, 13))
    assert np.array_equal(volume.pixels[9], np.asarray(Image.open(patient.slices[9].image)))


def test_files_that_vanish_after_the_scan_are_reported(tmp_path):
    public(tmp_path, "TCGA_CS_4941_19960909", [1, 1])
    [patient], _ = scan_folder(tmp_path)
    patient.slices[1].image.unlink()
    with pytest.raises(DatasetError, match="scan again"):
        load_patient(patient)


def test_a_mask_resized_after_the_scan_is_reported(tmp_path):
    public(tmp_path, "TCGA_CS_4941_19960909", [1, 1])
    [patient], _ = scan_folder(tmp_path)
    truth(patient.slices[1].mask, 1, (20, 20))
    with pytest.raises(DatasetError, match="changed in size"):
        load_patient(patient)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "I;16"])
def test_a_mask_of_any_mode_is_its_nonzero_pixels(tmp_path, mode):
    expected = np.zeros((20, 24), bool)
    expected[3:7, 5:9] = True
    if mode == "I;16":
        image = Image.fromarray(expected.astype(np.uint16) * 700)
    elif mode == "P":
        image = Image.fromarray(expected.astype(np.uint8))
        image.putpalette([0, 0, 0, 255, 0, 0])
    else:
        image = Image.fromarray(expected.astype(np.uint8) * 255).convert(mode)
    image.save(tmp_path / "mask.png")
    assert np.array_equal(read_mask(tmp_path / "mask.png"), expected)


def test_jpeg_ringing_in_a_mask_is_no_lesion(tmp_path):
    expected = np.zeros((64, 64), np.uint8)
    expected[20:41, 20:41] = 255
    Image.fromarray(expected).save(tmp_path / "mask.jpg", quality=80)
    found = read_mask(tmp_path / "mask.jpg")
    assert (np.asarray(Image.open(tmp_path / "mask.jpg")) > 0).sum() > found.sum()
    assert abs(int(found.sum()) - 21 * 21) < 12


def test_the_fingerprint_depends_on_content_not_location(tmp_path):
    public(tmp_path / "here", "TCGA_CS_4941_19960909", [2, 3])
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    here, there = (scan_folder(tmp_path / name)[0] for name in ("here", "there"))
    assert fingerprint(here) == fingerprint(there)
    picture(there[0].slices[0].image, shape=(SIDE, SIDE))
    assert fingerprint(here) != fingerprint(there)


def test_odd_names_keep_slices_and_masks_together(tmp_path):
    names = ["a" * 210 + "_1", "a" * 210 + "_2", "x (10)", "x (9)", "scan_mask_old", "tab\there"]
    for number, name in enumerate(names, start=1):
        picture(tmp_path / "train" / "anna" / "images" / f"{name}.png", number, (SIDE, SIDE, 3))
        truth(tmp_path / "train" / "anna" / "masks" / f"{name}.png", number)
    [patient], _ = scan_folder(tmp_path)
    volume, mask = load_patient(patient)
    assert sorted(volume.names) == sorted(names)
    assert [names[area - 1] for area in mask.sum(axis=(1, 2))] == list(volume.names)
    for index, pair in enumerate(patient.slices):
        assert np.array_equal(volume.pixels[index], np.asarray(Image.open(pair.image)))
