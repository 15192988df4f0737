"""Folders of volumes: what is recognised, what its labels mean, what is left out and in which words."""

import io
import json
import os
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from highdicom.seg import Segmentation, segread

from metseg import formats
from metseg.contracts import Preprocessing
from metseg.errors import DatasetError
from metseg.imaging import Preprocessor
from metseg.settings import Limits
from metseg_trainer.cli import main
from metseg_trainer.data import load_patient, scan_folder, write_phantoms
from metseg_trainer.data.layouts import find_studies
from metseg_trainer.data.layouts.structure_names import structure_from_name
from metseg_trainer.data.volumes import read_study

SHAPE = (20, 18, 6)
"""Columns, rows, slices."""
AXIAL = np.diag([-2.0, -2.0, 5.0, 1.0])


def image(seed=0, shape=SHAPE, dtype=np.int16):
    return np.random.default_rng(seed).integers(1, 1000, shape).astype(dtype)


def save(path, voxels, affine=AXIAL):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(voxels, affine), path)


def labelled(*labels, shape=SHAPE, dtype=np.uint8):
    """A block of 4 x 4 x 1 voxels for each label, one slice after another."""
    mask = np.zeros(shape, dtype)
    for index, label in enumerate(labels):
        mask[4:8, 4:8, index] = label
    return mask


def case(folder, name="BraTS-MET-00001-000", labels=(1, 2, 3), sequences=("t1n", "t1c", "t2f"), **images):
    for index, what in enumerate(sequences):
        save(folder / name / f"{name}-{what}.nii.gz", images.get(what, image(index)))
    save(folder / name / f"{name}-seg.nii.gz", images.get("seg", labelled(*labels)))
    return folder / name


def study(folder):
    [files] = find_studies(folder).volumes
    return read_study(files)


def refused(folder):
    """Why the only study of a folder cannot be used."""
    with pytest.raises(DatasetError) as error:
        scan_folder(folder)
    return error.value.detail


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
def test_audit_recognises_a_layout_and_what_is_in_it(phantoms, layout, title, structures, labels, sequences, left_out):
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


def test_brainmetshare_has_cores_whose_whole_is_unknown(phantoms):
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


def test_slices_may_be_of_the_core_alone(phantoms):
    folder = phantoms("public")
    (folder / "labels.yaml").write_text("core: any\nwhole: unknown\n")
    try:
        assert "3 studies of which only the core is known" in refused(folder)
    finally:
        (folder / "labels.yaml").unlink()


def test_every_phantom_layout_can_be_asked_for(tmp_path, capsys):
    assert main(["phantom", str(tmp_path / "new"), "--patients", "1", "--layout", "brats"]) == 0
    assert main(["audit", str(tmp_path / "new")]) == 0
    told = capsys.readouterr().out
    assert "Layout: BraTS\n1 patients" in told
    assert "known structures:\n  core and whole: 1" in told
    assert "24 x 256 x 256 at 5 x 0.9 x 0.9 mm: 1" in told


def test_volumes_carry_their_spacing(tmp_path):
    case(tmp_path)
    [patient], _ = scan_folder(tmp_path)
    assert load_patient(patient)[0].spacing_mm == (5.0, 2.0, 2.0)


def test_time_points_of_a_person_are_of_one_person(tmp_path):
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


def test_label_4_without_any_3_is_asked_about(tmp_path):
    case(tmp_path, labels=(1, 2, 4))
    assert "label 4 occurs but 3 in no study: say in a labels.yaml what 4 means" in refused(tmp_path)
    (tmp_path / "labels.yaml").write_text("core: [1, 4]\nwhole: [1, 2, 4]\n")
    assert study(tmp_path).truth.core.sum() == 32
    assert scan_folder(tmp_path)[1].structures == {"core and whole": 1}


def test_lesions_outlined_by_1_alone_are_not_taken_for_necrosis(tmp_path):
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


def test_empty_masks_are_healthy_studies(tmp_path):
    case(tmp_path, labels=())
    [patient], audit = scan_folder(tmp_path)
    assert (audit.healthy, audit.lesion_slices, patient.lesion_pixels) == (1, 0, 0)
    assert "1 studies have an empty mask and count as healthy" in audit.text()
    assert study(tmp_path).truth.core.sum() == 0


def test_float_labels_are_labels_where_they_are_whole_numbers(tmp_path):
    case(tmp_path, seg=labelled(1, 2, 3, dtype=np.float32))
    assert scan_folder(tmp_path)[1].labels == {"1": 1, "2": 1, "3": 1}


def test_a_probability_map_is_no_mask(tmp_path):
    case(tmp_path, seg=labelled(0.35, dtype=np.float32))
    assert "BraTS-MET-00001-000-seg.nii.gz has the value 0.35, but labels are whole numbers" in refused(tmp_path)


def test_labels_without_meaning_are_refused_by_name(tmp_path):
    case(tmp_path, labels=(1, 7))
    assert "its mask has the label 7, which has no meaning in this layout" in refused(tmp_path)


def test_a_missing_sequence_is_said(tmp_path):
    case(tmp_path, sequences=("t1c", "t2f"))
    _, audit = scan_folder(tmp_path)
    assert audit.sequences == {"flair": 1, "post": 1}
    assert list(audit.remarks) == ["No series is known to be pre-contrast; a copy of the FLAIR series stands in for it"]


def test_a_mask_on_another_grid_is_resampled(tmp_path):
    fine = np.zeros((40, 36, 6), np.uint8)
    fine[8:16, 8:16, :2] = 3
    folder = case(tmp_path)
    affine = AXIAL @ np.diag([0.5, 0.5, 1, 1])
    affine[:2, 3] = 0.5
    save(folder / f"{folder.name}-seg.nii.gz", fine, affine)
    assert study(tmp_path).truth.core.sum() == 32
    assert (
        "The mask lies on another grid than the images and was resampled onto theirs"
        in scan_folder(tmp_path)[1].remarks
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
            "20 x 18 x 6 x 2: 2 volumes in one file, where one is wanted",
        ),
        ("t1c", image(shape=(20, 18)), "t1c.nii.gz is 20 x 18: a single slice, where a volume is wanted"),
        ("seg", labelled(3, shape=(20, 18, 1)), "seg.nii.gz is 20 x 18 x 1: a single slice, where a volume is wanted"),
        ("seg", np.zeros((20, 18, 6, 3), np.uint8), "20 x 18 x 6 x 3: 3 volumes in one file, where one mask is wanted"),
    ],
)
def test_what_is_no_volume_is_refused_with_its_size(tmp_path, what, voxels, words):
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
def test_a_file_that_was_cut_off_leaves_its_study_out(tmp_path, layout, kind):
    write_phantoms(tmp_path / "d", 2, layout=layout, slices=6, size_px=64)
    masks = {"brats": "*-seg.nii.gz", "msd": "labelsTr/*.nii.gz"}
    images = {"brats": "*-t1c.nii.gz", "msd": "imagesTr/*.nii.gz"}
    broken = sorted((tmp_path / "d").rglob(masks[layout] if kind == "seg" else images[layout]))[0]
    broken.write_bytes(broken.read_bytes()[: broken.stat().st_size * 2 // 3])
    patients, audit = scan_folder(tmp_path / "d")
    assert (len(patients), len(audit.unusable_patients)) == (1, 1)
    assert "damaged" in audit.unusable_patients[0][1]


def test_halves_of_studies_are_named(tmp_path):
    case(tmp_path)
    (case(tmp_path, "BraTS-MET-00002-000") / "BraTS-MET-00002-000-seg.nii.gz").unlink()
    save(tmp_path / "BraTS-MET-00003-000-seg.nii.gz", labelled(3))
    save(tmp_path / "brainmask.nii.gz", labelled(1))
    _, audit = scan_folder(tmp_path)
    assert audit.images_without_mask == ("BraTS-MET-00002-000",)
    assert audit.masks_without_image == ("BraTS-MET-00003-000",)
    assert audit.notes == ("1 other files are not used, the first is brainmask.nii.gz",)


def test_studies_of_which_only_the_core_is_known_are_listed_and_left_out(tmp_path):
    case(tmp_path)
    (tmp_path / "labels.yaml").write_text("whole: unknown\nignore: [2]\n")
    assert "1 studies of which only the core is known, and the networks learn the whole" in refused(tmp_path)


def test_audit_is_written_with_both_structures(tmp_path):
    case(tmp_path)
    written = json.loads(scan_folder(tmp_path)[1].to_json())
    assert (written["layout"], written["structures"]) == ("BraTS", {"core and whole": 1})


def test_preparation_does_not_depend_on_the_scale_of_the_reading(tmp_path):
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
def test_a_labels_file_without_sense_is_refused(tmp_path, content, words):
    case(tmp_path)
    (tmp_path / "labels.yaml").write_text(content)
    assert words in refused(tmp_path)


def test_a_labels_file_reads_any_other_folder(tmp_path):
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


def test_a_labels_file_must_say_what_a_mask_means(tmp_path):
    save(tmp_path / "s1_gd.nii.gz", image())
    save(tmp_path / "s1_roi.nii.gz", labelled(5))
    (tmp_path / "labels.yaml").write_text('files: {post: "{case}_gd.nii.gz", mask: "{case}_roi.nii.gz"}\n')
    assert "labels.yaml names a mask but not what its labels mean" in refused(tmp_path)


def test_a_mask_each_for_core_and_whole(tmp_path):
    save(tmp_path / "s1_gd.nii.gz", image())
    save(tmp_path / "s1_core.nii.gz", labelled(9))
    save(tmp_path / "s1_whole.nii.gz", labelled(0, 9, 9))
    (tmp_path / "labels.yaml").write_text(
        'files: {post: "{case}_gd.nii.gz", core: "{case}_core.nii.gz", whole: "{case}_whole.nii.gz"}\n'
    )
    truth = study(tmp_path).truth
    assert (truth.core.sum(), truth.whole.sum()) == (16, 48)


@pytest.mark.parametrize(
    ("name", "structure"),
    [
        *[(name, "core") for name in ("GTV1", "GTV_met_03", "enhancing tumor", "non-enhancing tumor", "NETC", "ET")],
        *[(name, "core") for name in ("Metastasis 2", "BM1", "necrotic core", "TumourCore", "brain metastases")],
        *[(name, "surrounding") for name in ("edema", "Oedema", "SNFH", "surrounding FLAIR hyperintensity", "ED")],
        *[(name, "surrounding") for name in ("non-enhancing FLAIR signal", "peritumoral edema")],
        *[(name, "whole") for name in ("whole tumor", "WT")],
        *[(name, "neither") for name in ("background", "resection cavity", "RC", "Brainstem", "Brain")],
        *[(name, None) for name in ("tumour", "lesion", "1", "ROI 4", "PTV_60")],
    ],
)
def test_names_of_labels_mean_a_structure_or_leave_it_open(name, structure):
    assert structure_from_name(name) == structure


def nnunet(folder, labels, channels=("T1ce",), mask=(1,)):
    for number, _ in enumerate(channels):
        save(folder / "imagesTr" / f"c_001_{number:04d}.nii.gz", image(number))
    save(folder / "labelsTr" / "c_001.nii.gz", labelled(*mask))
    described = {"channel_names": {str(n): name for n, name in enumerate(channels)}, "labels": labels}
    (folder / "dataset.json").write_text(json.dumps(described))


def test_a_label_that_may_be_core_or_whole_is_asked_about(tmp_path):
    nnunet(tmp_path, {"background": 0, "tumour": 1})
    assert "what its labels mean is open (tumour): say in a labels.yaml which are core and whole" in refused(tmp_path)
    (tmp_path / "labels.yaml").write_text("whole: [1]\n")
    assert scan_folder(tmp_path)[1].structures == {"whole": 1}


def test_metastases_alone_are_cores_whose_whole_is_unknown(tmp_path):
    nnunet(tmp_path, {"background": 0, "metastasis": 1})
    assert "1 studies of which only the core is known" in refused(tmp_path)
    assert study(tmp_path).truth.whole is None


def test_oedema_alone_makes_no_whole(tmp_path):
    nnunet(tmp_path, {"background": 0, "edema": 1})
    assert "what its labels mean is open (background, edema)" in refused(tmp_path)


def test_channels_that_name_no_sequence_are_refused(tmp_path):
    nnunet(tmp_path, {"background": 0, "whole tumor": 1}, channels=("MRI",))
    assert "names the channels MRI, none of which is a sequence that metseg knows" in refused(tmp_path)


def test_a_broken_dataset_json_is_refused(tmp_path):
    nnunet(tmp_path, {"background": 0, "whole tumor": 1})
    (tmp_path / "dataset.json").write_text("{}")
    assert "is not a dataset.json with channel_names (or modality) and labels" in refused(tmp_path)


def test_the_test_side_of_nnunet_stays_the_test_side(tmp_path):
    nnunet(tmp_path, {"background": 0, "whole tumor": 1})
    save(tmp_path / "imagesTs" / "c_002_0000.nii.gz", image(8))
    save(tmp_path / "labelsTs" / "c_002.nii.gz", labelled(1))
    save(tmp_path / "imagesTs" / "c_003_0000.nii.gz", image(9))
    patients, audit = scan_folder(tmp_path)
    assert [(patient.id, patient.subset) for patient in patients] == [("c_001", None), ("c_002", "test")]
    assert audit.images_without_mask == ("c_003",)


def test_a_study_of_ucsf_without_oedema_has_a_core_alone(tmp_path):
    for what, voxels in {"T1post": image(1), "FLAIR": image(2), "seg": labelled(1, 2)}.items():
        save(tmp_path / "100101A" / f"100101A_{what}.nii.gz", voxels)
    truth = study(tmp_path).truth
    assert truth.core.sum() == 32
    assert truth.whole is None


def test_studies_of_ucsf_are_of_persons(tmp_path):
    for case in ("100101A", "100101B", "100102A"):
        save(tmp_path / "UCSF_BrainMetastases_TEST" / case / f"{case}_T1post.nii.gz", image(ord(case[-1])))
        save(tmp_path / "UCSF_BrainMetastases_TEST" / case / f"{case}_BraTS-seg.nii.gz", labelled(2, 3))
    patients, _ = scan_folder(tmp_path)
    assert [(patient.person, patient.subset) for patient in patients] == [
        ("100101", "test"), ("100101", "test"), ("100102", "test"),
    ]  # fmt: skip


def bids(folder, masks, table=None):
    anat = folder / "sub-01" / "anat"
    save(anat / "sub-01_ce-gadolinium_T1w.nii.gz", image(1))
    save(anat / "sub-01_FLAIR.nii.gz", image(2))
    derived = folder / "derivatives" / "readers" / "sub-01" / "anat"
    for name, voxels in masks.items():
        save(derived / f"sub-01_{name}.nii.gz", voxels)
    if table is not None:
        (derived / "sub-01_dseg.tsv").write_text(table)


def test_masks_of_bids_mean_what_their_labels_say(tmp_path):
    masks = {"label-core_mask": labelled(1), "label-edema_mask": labelled(0, 1), "desc-brain_mask": labelled(1, 1, 1)}
    bids(tmp_path, masks)
    truth = study(tmp_path).truth
    assert (truth.core.sum(), truth.whole.sum()) == (16, 32)


def test_a_label_map_of_bids_without_names_is_asked_about(tmp_path):
    bids(tmp_path, {"dseg": labelled(1, 2)})
    assert "add a _dseg.tsv with the columns index and name, or a labels.yaml" in refused(tmp_path)
    bids(tmp_path, {}, "index\tname\n1\tGTV\n2\toedema\n")
    truth = study(tmp_path).truth
    assert (truth.core.sum(), truth.whole.sum()) == (16, 32)


def test_a_folder_in_no_layout_points_to_the_page_that_lists_them(tmp_path):
    (tmp_path / "readme.txt").write_text("nothing here")
    assert "docs/data.md lists them, and how a labels.yaml describes any other" in refused(tmp_path)


@pytest.fixture
def dicom(tmp_path):
    """One study of 8 slices with a structure set, that a test may change."""
    write_phantoms(tmp_path / "d", 1, seed=5, layout="dicom-rtstruct", slices=8, size_px=64)
    return tmp_path / "d"


def edit(path, change):
    content = pydicom.dcmread(path)
    change(content)
    content.save_as(path, enforce_file_format=True)


def test_regions_whose_name_leaves_open_what_they_are_are_asked_about(dicom):
    def rename(structures):
        structures.StructureSetROISequence[0].ROIName = "Tumor left"

    edit(dicom / "patient_001" / "structures.dcm", rename)
    assert "what its labels mean is open (Tumor left)" in refused(dicom)
    (dicom / "labels.yaml").write_text("core: [Tumor left]\nwhole: [Tumor left, Edema]\n")
    assert scan_folder(dicom)[1].structures == {"core and whole": 1}


def test_a_contour_between_slices_is_refused(dicom):
    def lift(structures):
        contour = structures.ROIContourSequence[0].ContourSequence[0]
        contour.ContourData = [
            value + (7 if index % 3 == 2 else 0) for index, value in enumerate(map(float, contour.ContourData))
        ]

    edit(dicom / "patient_001" / "structures.dcm", lift)
    assert "structures.dcm, GTV: a contour is not on a slice of the series that it was drawn on" in refused(dicom)


def test_a_structure_set_without_its_series_is_refused(dicom):
    def refer_elsewhere(structures):
        study = structures.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0]
        study.RTReferencedSeriesSequence[0].SeriesInstanceUID = "1.2.3"

    edit(dicom / "patient_001" / "structures.dcm", refer_elsewhere)
    assert "structures.dcm was drawn on a series that is not in the folder" in refused(dicom)


def test_studies_of_dicom_are_named_after_folders_and_never_after_patients(dicom):
    patients, audit = scan_folder(dicom)
    assert [patient.id for patient in patients] == ["patient_001"]
    assert "PHANTOM-1" not in audit.to_json() + patients[0].person


def test_a_segmentation_that_stores_one_slice_of_many_is_placed(tmp_path):
    write_phantoms(tmp_path / "d", 1, seed=5, layout="dicom-seg", slices=24, size_px=64)
    path = tmp_path / "d" / "patient_001" / "segmentation.dcm"
    before = study(tmp_path / "d").truth.whole
    kept = int(before.sum(axis=(1, 2)).argmax())
    lone = np.zeros(before.shape, np.uint8)
    lone[kept] = before[kept]
    described = segread(path).get_segment_description(3)
    described.SegmentNumber = 1
    made = Segmentation(
        source_images=post_contrast(tmp_path / "d"), pixel_array=lone, segmentation_type="BINARY",
        segment_descriptions=[described], series_instance_uid="1.2.3", series_number=1,
        sop_instance_uid="1.2.4", instance_number=1, manufacturer="m", manufacturer_model_name="m",
        software_versions="1", device_serial_number="1",
    )  # fmt: skip
    made.save_as(path)
    truth = study(tmp_path / "d").truth
    assert np.array_equal(truth.core, lone > 0)


def post_contrast(folder):
    images = [pydicom.dcmread(path) for path in folder.rglob("*.dcm") if path.name != "segmentation.dcm"]
    return sorted(
        (each for each in images if each.SeriesNumber == 4), key=lambda each: float(each.ImagePositionPatient[2])
    )


@pytest.mark.real_data
def test_brats_2013_is_read_as_it_is():
    folder = os.environ.get("METSEG_REAL_BRATS")
    if not folder:
        pytest.skip("METSEG_REAL_BRATS names no folder of BRATS 2013")
    patients, audit = scan_folder(Path(folder))
    assert (audit.layout, audit.unusable_patients, {*audit.labels}) == ("BraTS", (), {"1", "2", "3", "4"})
    assert audit.structures == {"core and whole": len(patients)}
    for patient in patients:
        read = read_study(patient.files)
        assert read.volume.shape == (155, 240, 240)
        assert not (read.truth.core & ~read.truth.whole).any()
