"""Folders of volumes: which layouts are recognised, what labels mean, what is left out with which message."""

import io
import json
import shutil

import nibabel
import numpy as np
import pydicom
import pytest
from tests.volume_folders import AXIAL, case, image, labelled, refused, save, study

from metseg import formats
from metseg.contracts import Preprocessing
from metseg.imaging import Preprocessor
from metseg.settings import Limits
from metseg_trainer.cli import main
from metseg_trainer.data import load_patient, scan_folder, write_phantoms
from metseg_trainer.data.layouts import find_studies
from metseg_trainer.data.volumes import read_study


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    """A function that writes phantoms in a layout, once."""
    written = {}

    def folder(layout):
        if layout not in written:
            written[layout] = tmp_path_factory.mktemp("phantoms") / layout
            write_phantoms(written[layout], 3, seed=5, layout=layout, slices=8, size_px=64)
        return written[layout]

    return folder


NNUNET = "nnU-Net or Medical Segmentation Decathlon"
LAYOUTS = [
    # phantom, title, known structures, labels, sequences, left out
    ("brats", "BraTS", "core and whole", {"1", "2", "3"}, {"pre", "flair", "post"}, {"T2"}),
    ("brats-ped", "BraTS", "core and whole", {"1", "3", "4"}, {"pre", "flair", "post"}, set()),
    ("brats2021", "BraTS", "core and whole", {"1", "2", "4"}, {"pre", "flair", "post"}, set()),
    ("brats2013", "BraTS", "core and whole", {"1", "2", "4"}, {"flair", "post"}, set()),
    ("nnunet", NNUNET, "core and whole", {"1", "2", "3"}, {"pre", "flair", "post"}, {"T2"}),
    ("msd", NNUNET, "core and whole", {"1", "2", "3"}, {"pre", "flair", "post"}, {"T2w"}),
    ("bids", "BIDS", "core and whole", {"1", "2", "3"}, {"pre", "flair", "post"}, {"T2w"}),
    ("ucsf", "UCSF-BMSR", "core and whole", {"1", "2", "3"}, {"pre", "flair", "post"}, {"T2Synth", "subtraction"}),
    ("dicom-seg", "DICOM", "core and whole", {"Necrosis", "Edema", "Enhancing"}, {"pre", "flair", "post"}, set()),
    ("dicom-rtstruct", "DICOM", "core and whole", {"GTV", "Edema", "Brainstem"}, {"pre", "flair", "post"}, set()),
]


@pytest.mark.parametrize(("layout", "title", "structures", "labels", "sequences", "left_out"), LAYOUTS)
def test_audit_recognises_a_layout_and_its_contents(phantoms, layout, title, structures, labels, sequences, left_out):
    patients, audit = scan_folder(phantoms(layout))
    assert (audit.layout, audit.patients, audit.slices, audit.structures) == (title, 3, 24, {structures: 3})
    assert {*audit.labels} <= labels
    assert {*audit.sequences} == sequences
    assert {*audit.left_out_files} == left_out
    assert list(audit.grids) == [
        f"8 x 64 x 64 at {spacing} mm" for spacing in ("15 x 3.6 x 3.6", "12 x 3.2 x 3.2", "18 x 4 x 4")
    ]
    assert (audit.unusable_patients, audit.core_only, audit.healthy) == ((), (), 0)
    assert all(patient.lesion_pixels for patient in patients)


@pytest.mark.parametrize("layout", [each[0] for each in LAYOUTS])
def test_a_layout_has_the_voxels_that_were_drawn(phantoms, layout):
    drawn, _ = scan_folder(phantoms("public"))
    patients, _ = scan_folder(phantoms(layout))
    for original, patient in zip(drawn, patients, strict=True):
        expected, outline = load_patient(original)
        volume, mask = load_patient(patient)
        assert np.array_equal(mask, outline)
        assert np.corrcoef(volume.pixels[..., 1].ravel(), expected.pixels[..., 1].ravel())[0, 1] > 0.999
        assert np.corrcoef(volume.pixels[..., 2].ravel(), expected.pixels[..., 2].ravel())[0, 1] > 0.999
        core = read_study(patient.files).truth.core
        assert 0 < core.sum() < mask.sum()
        assert not (core & ~mask).any()


def test_folders_of_images_and_masks_have_the_whole_that_was_drawn(phantoms):
    drawn, _ = scan_folder(phantoms("public"))
    patients, audit = scan_folder(phantoms("images-and-masks"))
    assert (audit.patients, audit.slices, audit.structures) == (3, 24, {"whole": 3})
    for original, patient in zip(drawn, patients, strict=True):
        assert patient.subset == "train"
        for ours, expected in zip(load_patient(patient), load_patient(original), strict=True):
            assert np.array_equal(getattr(ours, "pixels", ours), getattr(expected, "pixels", expected))


def test_brainmetshare_has_cores_with_unknown_whole(phantoms):
    found = find_studies(phantoms("brainmetshare"))
    assert found.layout == "Stanford BrainMetShare"
    drawn, _ = scan_folder(phantoms("brats"))
    for original, files in zip(drawn, found.volumes, strict=True):
        expected = read_study(original.files)
        read = read_study(files)
        assert np.array_equal(read.truth.core, expected.truth.core)
        assert read.truth.whole is None
        assert np.array_equal(read.volume.pixels, expected.volume.pixels)
        assert read.volume.spacing_mm == (1.0, 0.94, 0.94)
        assert files.left_out == ("spin-echo T1 after contrast",)
    assert "3 studies of which only the core is known" in refused(phantoms("brainmetshare"))


def test_slices_may_have_only_a_core(phantoms):
    folder = phantoms("public")
    (folder / "labels.yaml").write_text("core: any\nwhole: unknown\n")
    try:
        assert "3 studies of which only the core is known" in refused(folder)
    finally:
        (folder / "labels.yaml").unlink()


def test_every_phantom_layout_can_be_asked_for(tmp_path, capsys):
    assert main(["phantom", str(tmp_path / "new"), "--patients", "1", "--layout", "brats"]) == 0
    assert main(["audit", str(tmp_path / "new")]) == 0
    output = capsys.readouterr().out
    assert "Layout: BraTS\n1 patients" in output
    assert "known structures:\n  core and whole: 1" in output
    assert "24 x 256 x 256 at 5 x 0.9 x 0.9 mm: 1" in output


def test_volumes_carry_their_spacing(tmp_path):
    case(tmp_path)
    [patient], _ = scan_folder(tmp_path)
    assert load_patient(patient)[0].spacing_mm == (5.0, 2.0, 2.0)


def test_time_points_belong_to_one_person(tmp_path):
    for name in ("BraTS-MET-00001-000", "BraTS-MET-00001-001", "BraTS-MET-00002-000"):
        case(tmp_path, name)
    patients, _ = scan_folder(tmp_path)
    assert [patient.person for patient in patients] == ["BraTS-MET-00001", "BraTS-MET-00001", "BraTS-MET-00002"]


def test_a_resection_cavity_is_neither_core_nor_whole(tmp_path):
    case(tmp_path, labels=(2, 3, 4))
    truth = study(tmp_path).truth
    assert (truth.core.sum(), truth.whole.sum()) == (16, 32)


def test_enhancing_tumour_is_4_before_2023(tmp_path):
    for what, voxels in {"t1ce": image(1), "flair": image(2), "seg": labelled(1, 2, 4)}.items():
        save(tmp_path / "Brats18_2013_2_1" / f"Brats18_2013_2_1_{what}.nii.gz", voxels)
    truth = study(tmp_path).truth
    assert (truth.core.sum(), truth.whole.sum()) == (32, 48)


def test_label_4_without_label_3_is_ambiguous(tmp_path):
    case(tmp_path, labels=(1, 2, 4))
    assert "label 4 occurs but 3 in no study: say in a labels.yaml what 4 means" in refused(tmp_path)
    (tmp_path / "labels.yaml").write_text("core: [1, 4]\nwhole: [1, 2, 4]\n")
    assert study(tmp_path).truth.core.sum() == 32
    assert scan_folder(tmp_path)[1].structures == {"core and whole": 1}


def test_lesions_with_label_1_alone_are_not_read_as_necrosis(tmp_path):
    for what, voxels in {"t1ce": image(1), "flair": image(2), "seg": labelled(1)}.items():
        save(tmp_path / f"anna_{what}.nii.gz", voxels)
    assert "label 1 occurs but 2 in no study: say in a labels.yaml what 1 means" in refused(tmp_path)
    (tmp_path / "labels.yaml").write_text("core: unknown\nwhole: [1]\n")
    assert scan_folder(tmp_path)[1].structures == {"whole": 1}


def test_metaimages_of_the_first_challenges_are_read(tmp_path):
    import SimpleITK

    for name, voxels in {
        "VSD.Brain.XX.O.MR_T1c.54515": image(1),
        "VSD.Brain.XX.O.MR_Flair.54512": image(2),
        "VSD.Brain_3more.XX.XX.OT.54517": labelled(2, 3, 4),
    }.items():
        (tmp_path / "HG" / "0001" / name).mkdir(parents=True)
        itk = SimpleITK.GetImageFromArray(voxels.T)
        itk.SetSpacing((2.0, 2.0, 5.0))
        SimpleITK.WriteImage(itk, str(tmp_path / "HG" / "0001" / name / f"{name}.mha"))
    found = study(tmp_path)
    assert (found.volume.spacing_mm, found.volume.shape) == ((5.0, 2.0, 2.0), (6, 18, 20))
    assert (found.truth.core.sum(), found.truth.whole.sum()) == (32, 48)


def test_a_suffix_in_capitals_is_the_same(tmp_path):
    import SimpleITK

    for what, voxels in {"t1c": image(1), "t2f": image(2), "seg": labelled(1, 2, 3)}.items():
        written = tmp_path / f"BraTS-MET-00001-000-{what}.mha"
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(voxels.T), str(written))
        written.rename(written.with_suffix(".MHA"))
    assert study(tmp_path).truth.core.any()


def test_empty_masks_are_healthy_studies(tmp_path):
    case(tmp_path, labels=())
    [patient], audit = scan_folder(tmp_path)
    assert (audit.healthy, audit.lesion_slices, patient.lesion_pixels) == (1, 0, 0)
    assert "1 studies have an empty mask and count as healthy" in audit.text()
    assert study(tmp_path).truth.core.sum() == 0


def test_integral_float_labels_are_labels(tmp_path):
    case(tmp_path, seg=labelled(1, 2, 3, dtype=np.float32))
    assert scan_folder(tmp_path)[1].labels == {"1": 1, "2": 1, "3": 1}


def test_a_probability_map_is_not_a_mask(tmp_path):
    case(tmp_path, seg=labelled(0.35, dtype=np.float32))
    assert "BraTS-MET-00001-000-seg.nii.gz has the value 0.35, but labels are whole numbers" in refused(tmp_path)


def test_labels_without_meaning_are_refused_by_name(tmp_path):
    case(tmp_path, labels=(1, 7))
    assert "its mask has the label 7, which has no meaning in this layout" in refused(tmp_path)


def test_a_missing_sequence_is_reported(tmp_path):
    case(tmp_path, sequences=("t1c", "t2f"))
    _, audit = scan_folder(tmp_path)
    assert audit.sequences == {"flair": 1, "post": 1}
    assert list(audit.remarks) == ["No series is known to be pre-contrast; the study is read without it"]


def test_a_missing_dicom_series_is_said(phantoms, tmp_path):
    folder = shutil.copytree(phantoms("dicom-seg"), tmp_path / "data")
    for path in folder.rglob("*"):
        if path.is_file() and pydicom.dcmread(path, stop_before_pixels=True).get("SeriesNumber") == 2:
            path.unlink()
    assert scan_folder(folder)[1].sequences == {"flair": 3, "post": 3}


def test_a_mask_on_another_grid_is_resampled(tmp_path):
    fine = np.zeros((40, 36, 6), np.uint8)
    fine[8:16, 8:16, :2] = 3
    folder = case(tmp_path)
    affine = AXIAL @ np.diag([0.5, 0.5, 1, 1])
    affine[:2, 3] = 0.5
    save(folder / f"{folder.name}-seg.nii.gz", fine, affine)
    assert study(tmp_path).truth.core.sum() == 32
    assert (
        "The mask is on another grid than the images and was resampled onto theirs" in scan_folder(tmp_path)[1].remarks
    )


def test_a_sequence_on_another_grid_is_resampled_without_motion(tmp_path):
    case(tmp_path, t1c=image(1, (20, 18, 12)))
    [remark] = scan_folder(tmp_path)[1].remarks
    assert "The post-contrast" in remark
    assert "resampled onto it where its header puts it, without registration" in remark


def test_a_mask_that_would_vanish_on_the_images_grid_is_refused(tmp_path):
    fine = np.zeros((20, 18, 60), np.uint8)
    fine[4:8, 4:8, 25] = 3
    affine = AXIAL @ np.diag([1, 1, 0.1, 1])
    folder = case(tmp_path)
    save(folder / f"{folder.name}-seg.nii.gz", fine, affine)
    assert "its outlines fall between the slices of the images" in refused(tmp_path)


def test_a_mask_elsewhere_in_space_is_refused(tmp_path):
    folder = case(tmp_path)
    away = AXIAL.copy()
    away[:3, 3] = 5000
    save(folder / f"{folder.name}-seg.nii.gz", labelled(1, 3), away)
    assert "its mask and its images do not overlap" in refused(tmp_path)


@pytest.mark.parametrize(
    ("what", "voxels", "words"),
    [
        (
            "t1c",
            image(shape=(20, 18, 6, 2)),
            "20 x 18 x 6 x 2: 2 volumes in one file, where one is expected",
        ),
        ("t1c", image(shape=(20, 18)), "t1c.nii.gz is 20 x 18: a single slice, where a volume is expected"),
        (
            "seg",
            labelled(3, shape=(20, 18, 1)),
            "seg.nii.gz is 20 x 18 x 1: a single slice, where a volume is expected",
        ),
        (
            "seg",
            np.zeros((20, 18, 6, 3), np.uint8),
            "20 x 18 x 6 x 3: 3 volumes in one file, where one mask is expected",
        ),
    ],
)
def test_an_array_that_is_not_a_volume_is_refused_with_its_size(tmp_path, what, voxels, words):
    case(tmp_path, **{what: voxels})
    assert words in refused(tmp_path)


def test_a_damaged_file_leaves_its_study_out_by_name(tmp_path):
    case(tmp_path)
    folder = case(tmp_path, "BraTS-MET-00002-000")
    broken = folder / f"{folder.name}-t1c.nii.gz"
    broken.write_bytes(broken.read_bytes()[:900])
    patients, audit = scan_folder(tmp_path)
    assert [patient.id for patient in patients] == ["BraTS-MET-00001-000"]
    assert [id for id, _ in audit.unusable_patients] == ["BraTS-MET-00002-000"]


@pytest.mark.parametrize("layout", ["brats", "msd"])
@pytest.mark.parametrize("kind", ["seg", "image"])
def test_a_truncated_file_leaves_its_study_out(tmp_path, layout, kind):
    write_phantoms(tmp_path / "d", 2, layout=layout, slices=6, size_px=64)
    masks = {"brats": "*-seg.nii.gz", "msd": "labelsTr/*.nii.gz"}
    images = {"brats": "*-t1c.nii.gz", "msd": "imagesTr/*.nii.gz"}
    broken = sorted((tmp_path / "d").rglob(masks[layout] if kind == "seg" else images[layout]))[0]
    broken.write_bytes(broken.read_bytes()[: broken.stat().st_size * 2 // 3])
    patients, audit = scan_folder(tmp_path / "d")
    assert (len(patients), len(audit.unusable_patients)) == (1, 1)
    assert "damaged" in audit.unusable_patients[0][1]


def test_incomplete_studies_are_named(tmp_path):
    case(tmp_path)
    (case(tmp_path, "BraTS-MET-00002-000") / "BraTS-MET-00002-000-seg.nii.gz").unlink()
    save(tmp_path / "BraTS-MET-00003-000-seg.nii.gz", labelled(3))
    save(tmp_path / "brainmask.nii.gz", labelled(1))
    _, audit = scan_folder(tmp_path)
    assert audit.images_without_mask == ("BraTS-MET-00002-000",)
    assert audit.masks_without_image == ("BraTS-MET-00003-000",)
    assert audit.notes == ("1 other files are not used, the first is brainmask.nii.gz",)


def test_studies_with_only_a_known_core_are_listed_and_left_out(tmp_path):
    case(tmp_path)
    (tmp_path / "labels.yaml").write_text("whole: unknown\nignore: [2]\n")
    assert "1 studies of which only the core is known, which `structures --studies` learns" in refused(tmp_path)


def test_audit_is_written_with_both_structures(tmp_path):
    case(tmp_path)
    written = json.loads(scan_folder(tmp_path)[1].to_json())
    assert (written["layout"], written["structures"]) == ("BraTS", {"core and whole": 1})


def test_preparation_does_not_depend_on_the_intensity_scale(tmp_path):
    write_phantoms(tmp_path / "p", 1, layout="brats", slices=6, size_px=64)
    for path in (tmp_path / "p").rglob("*.nii.gz"):
        if "seg" not in path.name:
            stored = nibabel.load(path)
            voxels = np.asanyarray(stored.dataobj).astype(np.float32) * 7.5
            nibabel.save(nibabel.Nifti1Image(voxels, stored.affine), path)
    [patient], _ = scan_folder(tmp_path / "p")
    volume, _ = load_patient(patient)
    assert 255 <= volume.pixels.max() < 400
    uploads = [
        formats.Upload(path.name, io.BytesIO(path.read_bytes()), role)
        for role, files in patient.files.images.items()
        for path in files.paths
    ]
    serving = formats.read_volume(uploads, Limits(), align="none")
    ours, theirs = (Preprocessor(Preprocessing()).prepare(each) for each in (volume, serving))
    assert ours.geometry == theirs.geometry
    assert np.abs(ours.pixels.astype(int) - theirs.pixels).max() <= 2
