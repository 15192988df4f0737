"""The data set of phantoms: the trainer reads what was drawn."""

import numpy as np
import pytest

from metseg import phantom
from metseg.errors import DatasetError
from metseg_trainer.data import load_patient, scan_folder, split_patients, write_phantoms
from metseg_trainer.data.phantoms import SITES


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantoms")
    write_phantoms(folder, patients=6, seed=7, slices=6, size_px=64)
    return folder


def test_phantoms_are_a_valid_multi_site_data_set(folder):
    patients, audit = scan_folder(folder)
    assert (audit.patients, audit.slices, audit.sites) == (6, 36, {"P1": 2, "P2": 2, "P3": 2})
    assert audit.left_out() == "it holds no image with a mask"
    assert audit.lesion_slices > 0
    assert all(patient.lesion_pixels for patient in patients)
    assert len(split_patients(patients, seed=0).test) == 1


def test_the_data_read_equal_the_data_drawn(folder):
    patients, _ = scan_folder(folder)
    seed = int(np.random.SeedSequence(7).generate_state(6)[1])
    between, row, column = SITES["P2"]
    drawn = phantom.head(seed, slices=6, size_px=64, spacing_mm=(between * 4, row * 4, column * 4))
    [patient] = [patient for patient in patients if patient.id == "PHANTOM_P2_0002"]
    volume, mask = load_patient(patient)
    assert np.array_equal(volume.pixels, drawn.volume.pixels)
    assert np.array_equal(mask, drawn.mask)


def test_patients_differ(folder):
    pictures = {path.read_bytes() for path in folder.glob("*/*_3.tif")}
    assert len(pictures) == 6


def test_the_same_seed_writes_the_same_bytes_and_another_does_not(folder, tmp_path):
    write_phantoms(tmp_path / "again", patients=6, seed=7, slices=6, size_px=64)
    write_phantoms(tmp_path / "other", patients=6, seed=8, slices=6, size_px=64)
    names = [path.relative_to(folder) for path in folder.rglob("*.tif")]
    assert len(names) == 72
    assert all((folder / name).read_bytes() == (tmp_path / "again" / name).read_bytes() for name in names)
    assert any((folder / name).read_bytes() != (tmp_path / "other" / name).read_bytes() for name in names)


def test_a_folder_with_content_is_left_unchanged(tmp_path):
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(DatasetError, match="not empty"):
        write_phantoms(tmp_path, patients=1)
    assert [path.name for path in tmp_path.iterdir()] == ["precious.txt"]


def test_an_unwritable_folder_is_reported(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DatasetError, match="cannot be written"):
        write_phantoms(tmp_path / "file", patients=1)


def test_a_head_too_coarse_for_its_lesions_gets_one(tmp_path, monkeypatch):
    real, asked = phantom.head, []

    def crowded(seed, *, lesions=None, **grid):
        asked.append(lesions)
        if lesions is None:
            raise ValueError("the brain has no room for so many lesions")
        return real(seed, lesions=lesions, **grid)

    monkeypatch.setattr(phantom, "head", crowded)
    write_phantoms(tmp_path, patients=1, slices=6, size_px=64)
    [patient], _ = scan_folder(tmp_path)
    assert asked == [None, 1]
    assert patient.lesion_pixels > 0
