"""Data sets by family: nnU-Net, UCSF, BIDS, DICOM, BRATS 2013; names of labels and what they mean."""

import json
import os
from pathlib import Path

import numpy as np
import pydicom
import pytest
from highdicom.seg import Segmentation, segread
from tests.volume_folders import image, labelled, refused, save, study

from metseg_trainer.data import scan_folder, write_phantoms
from metseg_trainer.data.layouts.structure_names import structure_from_name
from metseg_trainer.data.volumes import read_study


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
def test_label_names_mean_a_structure_or_are_ambiguous(name, structure):
    assert structure_from_name(name) == structure


def nnunet(folder, labels, channels=("T1ce",), mask=(1,)):
    for number, _ in enumerate(channels):
        save(folder / "imagesTr" / f"c_001_{number:04d}.nii.gz", image(number))
    save(folder / "labelsTr" / "c_001.nii.gz", labelled(*mask))
    described = {"channel_names": {str(n): name for n, name in enumerate(channels)}, "labels": labels}
    (folder / "dataset.json").write_text(json.dumps(described))


def test_a_label_that_may_be_core_or_whole_is_ambiguous(tmp_path):
    nnunet(tmp_path, {"background": 0, "tumour": 1})
    assert "the meaning of its labels is open (tumour): say in a labels.yaml which are core and whole" in refused(
        tmp_path
    )
    (tmp_path / "labels.yaml").write_text("whole: [1]\n")
    assert scan_folder(tmp_path)[1].structures == {"whole": 1}


def test_metastasis_labels_are_cores_with_unknown_whole(tmp_path):
    nnunet(tmp_path, {"background": 0, "metastasis": 1})
    assert "1 studies of which only the core is known" in refused(tmp_path)
    assert study(tmp_path).truth.whole is None


def test_oedema_alone_is_not_a_whole(tmp_path):
    nnunet(tmp_path, {"background": 0, "edema": 1})
    assert "the meaning of its labels is open (background, edema)" in refused(tmp_path)


def test_channels_that_name_no_sequence_are_refused(tmp_path):
    nnunet(tmp_path, {"background": 0, "whole tumor": 1}, channels=("MRI",))
    assert "names the channels MRI, none of which is a sequence that metseg knows" in refused(tmp_path)


def test_a_broken_dataset_json_is_refused(tmp_path):
    nnunet(tmp_path, {"background": 0, "whole tumor": 1})
    (tmp_path / "dataset.json").write_text("{}")
    assert "is not a dataset.json with channel_names (or modality) and labels" in refused(tmp_path)


def test_nnunets_test_side_is_kept(tmp_path):
    nnunet(tmp_path, {"background": 0, "whole tumor": 1})
    save(tmp_path / "imagesTs" / "c_002_0000.nii.gz", image(8))
    save(tmp_path / "labelsTs" / "c_002.nii.gz", labelled(1))
    save(tmp_path / "imagesTs" / "c_003_0000.nii.gz", image(9))
    patients, audit = scan_folder(tmp_path)
    assert [(patient.id, patient.subset) for patient in patients] == [("c_001", None), ("c_002", "test")]
    assert audit.images_without_mask == ("c_003",)


def test_a_ucsf_study_without_oedema_has_only_a_core(tmp_path):
    for what, voxels in {"T1post": image(1), "FLAIR": image(2), "seg": labelled(1, 2)}.items():
        save(tmp_path / "100101A" / f"100101A_{what}.nii.gz", voxels)
    truth = study(tmp_path).truth
    assert truth.core.sum() == 32
    assert truth.whole is None


def test_ucsf_studies_are_grouped_by_person(tmp_path):
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


def test_bids_labels_give_the_meaning_of_masks(tmp_path):
    masks = {"label-core_mask": labelled(1), "label-edema_mask": labelled(0, 1), "desc-brain_mask": labelled(1, 1, 1)}
    bids(tmp_path, masks)
    truth = study(tmp_path).truth
    assert (truth.core.sum(), truth.whole.sum()) == (16, 32)


def test_a_bids_label_map_without_names_is_ambiguous(tmp_path):
    bids(tmp_path, {"dseg": labelled(1, 2)})
    assert "add a _dseg.tsv with the columns index and name, or a labels.yaml" in refused(tmp_path)
    bids(tmp_path, {}, "index\tname\n1\tGTV\n2\toedema\n")
    truth = study(tmp_path).truth
    assert (truth.core.sum(), truth.whole.sum()) == (16, 32)


def test_an_unknown_layout_is_refused_with_a_link_to_the_layouts(tmp_path):
    (tmp_path / "readme.txt").write_text("nothing here")
    assert "docs/data.md lists them, and how a labels.yaml describes any other" in refused(tmp_path)


@pytest.fixture
def dicom(tmp_path):
    """A study of 8 slices with a structure set, which a test may change."""
    write_phantoms(tmp_path / "d", 1, seed=5, layout="dicom-rtstruct", slices=8, size_px=64)
    return tmp_path / "d"


def edit(path, change):
    content = pydicom.dcmread(path)
    change(content)
    content.save_as(path, enforce_file_format=True)


def test_regions_with_an_unclear_name_are_ambiguous(dicom):
    def rename(structures):
        structures.StructureSetROISequence[0].ROIName = "Tumor left"

    edit(dicom / "patient_001" / "structures.dcm", rename)
    assert "the meaning of its labels is open (Tumor left)" in refused(dicom)
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


def test_dicom_without_a_preamble_is_read(dicom):
    """Old scanners and dumps of networks write the data set alone."""
    for path in dicom.rglob("*.dcm"):
        if path.name != "structures.dcm":
            content = path.read_bytes()
            meta_bytes = int.from_bytes(content[140:144], "little")
            path.write_bytes(content[144 + meta_bytes :])
    assert scan_folder(dicom)[1].structures == {"core and whole": 1}


def test_dicom_studies_are_named_after_folders_not_patients(dicom):
    patients, audit = scan_folder(dicom)
    assert [patient.id for patient in patients] == ["patient_001"]
    assert "PHANTOM-1" not in audit.to_json() + patients[0].person


def test_a_segmentation_of_one_slice_is_placed_in_the_series(tmp_path):
    write_phantoms(tmp_path / "d", 1, seed=5, layout="dicom-seg", slices=24, size_px=64)
    path = tmp_path / "d" / "patient_001" / "segmentation.dcm"
    before = study(tmp_path / "d").truth.whole
    kept = int(before.sum(axis=(1, 2)).argmax())
    single = np.zeros(before.shape, np.uint8)
    single[kept] = before[kept]
    described = segread(path).get_segment_description(3)
    described.SegmentNumber = 1
    made = Segmentation(
        source_images=post_contrast(tmp_path / "d"), pixel_array=single, segmentation_type="BINARY",
        segment_descriptions=[described], series_instance_uid="1.2.3", series_number=1,
        sop_instance_uid="1.2.4", instance_number=1, manufacturer="m", manufacturer_model_name="m",
        software_versions="1", device_serial_number="1",
    )  # fmt: skip
    made.save_as(path)
    truth = study(tmp_path / "d").truth
    assert np.array_equal(truth.core, single > 0)


def post_contrast(folder):
    images = [pydicom.dcmread(path) for path in folder.rglob("*.dcm") if path.name != "segmentation.dcm"]
    return sorted(
        (each for each in images if each.SeriesNumber == 4), key=lambda each: float(each.ImagePositionPatient[2])
    )


@pytest.mark.real_data
def test_brats_2013_is_read_unchanged():
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
