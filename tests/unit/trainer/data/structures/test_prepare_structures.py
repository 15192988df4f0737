"""Stores of training slices: which sequences a study has, what BRISC's index gives, and that stores are reused."""

import numpy as np
import pytest
from tests.structures import write_brisc

from metseg.errors import DatasetError
from metseg.imaging import Preprocessor, present_sequences
from metseg_trainer.data import load_patient, scan_folder, write_phantoms
from metseg_trainer.data.structures import PREPROCESSING, prepare_brisc, prepare_lgg, prepare_studies, store
from metseg_trainer.data.structures.prepare import normalise


@pytest.fixture(scope="module")
def patients(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lgg")
    write_phantoms(folder / "data", patients=2, slices=8, size_px=96)
    return scan_folder(folder / "data")[0]


def test_copies_of_flair_and_constant_channels_are_not_sequences():
    pixels = np.random.default_rng(0).integers(0, 255, (2, 8, 8, 3)).astype(np.uint8)
    assert present_sequences(pixels) == (True, True, True)
    pixels[..., 0] = pixels[..., 1]
    pixels[..., 2] = 7
    assert present_sequences(pixels) == (False, True, False)


def test_a_glioma_patient_is_stored_with_whole_known_and_core_unknown_there(patients, tmp_path):
    for study in prepare_lgg(patients, tmp_path):
        tumour = (study.flags & store.WHOLE) > 0
        assert tumour.any()
        assert ((study.flags & store.CORE_UNKNOWN) > 0)[tumour].all()
        assert not (study.flags & (store.CORE | store.WHOLE_UNKNOWN)).any()
        assert ((study.flags & store.HEAD) > 0)[tumour].mean() > 0.9


@pytest.mark.parametrize("layout", ["brats", "brainmetshare", "dicom-rtstruct"])
def test_a_study_with_a_known_core_is_stored_where_it_lies(tmp_path, layout):
    write_phantoms(tmp_path / "data", patients=1, slices=8, size_px=96, layout=layout)
    patients, _ = scan_folder(tmp_path / "data", "core")
    [study] = prepare_studies(patients, tmp_path / "stores")
    _, core = load_patient(patients[0])
    stored = (study.flags & store.CORE) > 0
    scale = np.prod(Preprocessor(PREPROCESSING).prepare(load_patient(patients[0])[0]).geometry.frame) / core[0].size
    assert stored.sum() == pytest.approx(core.sum() * scale, rel=0.2)
    assert stored.any(axis=(1, 2)).tolist() == core.any(axis=(1, 2)).tolist()
    assert ((study.flags & store.BRAIN) > 0)[stored].all()
    assert (
        study.pixels[..., 2][stored].mean() > study.pixels[..., 2][((study.flags & store.BRAIN) > 0) & ~stored].mean()
    )
    assert not (study.flags & store.CORE_UNKNOWN).any()


def test_a_store_is_normalised_as_in_serving(patients, tmp_path):
    [study, *_] = prepare_lgg(patients, tmp_path)
    served = Preprocessor(PREPROCESSING).prepare(load_patient(patients[0])[0])
    equalised, figures = normalise(study.pixels, (study.flags & store.HEAD) > 0, study.normalisation)
    assert np.array_equal(equalised, served.pixels)
    assert np.array_equal(np.array(figures.mean, np.float32), served.mean)


def test_a_store_is_reused_for_the_same_files(patients, tmp_path):
    prepare_lgg(patients, tmp_path)
    [place] = tmp_path.iterdir()
    written = (place / "index.json").stat().st_mtime_ns
    prepare_lgg(patients, tmp_path)
    assert (place / "index.json").stat().st_mtime_ns == written
    prepare_lgg(patients[:1], tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_brisc_is_stored_with_core_known_and_whole_unknown_by_the_column_side(tmp_path):
    write_brisc(tmp_path / "brisc")
    studies = prepare_brisc(tmp_path / "brisc", tmp_path)
    assert [study.patient for study in studies] == ["slice_0", "slice_2", "slice_4"]
    for study in studies:
        assert study.present == (False, False, True)
        assert not study.pixels[..., :2].any()
        assert (study.flags & store.CORE).any()
        assert ((study.flags & store.WHOLE_UNKNOWN) > 0)[(study.flags & store.CORE) > 0].all()


def test_an_index_without_the_column_side_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="cannot be read"):
        prepare_brisc(tmp_path, tmp_path)
    (tmp_path / "index.csv").write_text("name,tumour,plane\n")
    with pytest.raises(DatasetError, match="lacks the column side"):
        prepare_brisc(tmp_path, tmp_path)
    (tmp_path / "index.csv").write_text("name,tumour,plane,side\na,glioma,axial,test\n")
    with pytest.raises(DatasetError, match="side is train"):
        prepare_brisc(tmp_path, tmp_path)


def test_another_meaning_of_the_labels_makes_another_store(tmp_path):
    write_phantoms(tmp_path / "data", patients=1, slices=8, size_px=96, layout="brats")
    prepare_studies(scan_folder(tmp_path / "data", "core")[0], tmp_path / "stores")
    (tmp_path / "data" / "labels.yaml").write_text("core: [3]\nwhole: any\nignore: [1, 2]\n")
    prepare_studies(scan_folder(tmp_path / "data", "core")[0], tmp_path / "stores")
    assert len(list((tmp_path / "stores").iterdir())) == 2
