import io
import zipfile

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import JPEGLSLossless
from tests.dicoms import LIMITS, answered, uploads, volume_of, zipped
from tests.unit.pictures import png, upload

from metseg.cli import main
from metseg.cli.exit_codes import UsageError
from metseg.cli.run_state import RunState
from metseg.cli.segment import parse_options
from metseg.errors import InvalidParameter, UnreadableImage, UnsupportedFormat, UnusableImage
from metseg.formats import Upload, read_volume
from metseg.formats.dicom import deidentify_uploads
from metseg.phantom import head
from metseg.phantom.dicom import SERIES_PARAMETERS, SeriesParameters, enhanced_file, series_files, study_files

NAME, WORD = "Doe^Jane", "PLANTED"


@pytest.fixture(scope="module")
def phantom():
    return head(5, slices=6, size_px=64)


@pytest.fixture(scope="module")
def files(phantom):
    """A study with a name, and text in every place that can hide some."""
    return {name: planted(content) for name, content in study_files(phantom).items()}


def planted(content):
    found = pydicom.dcmread(io.BytesIO(content))
    found.PatientName, found.PatientID, found.OtherPatientIDs = NAME, f"{WORD}-1", f"{WORD}-2"
    found.InstitutionName = found.StationName = found.OperatorsName = found.ImageComments = WORD
    found.DeviceSerialNumber = found.StudyDescription = found.ProtocolName = WORD
    found.SeriesDescription = f"{found.SeriesDescription} {WORD}"
    found.AcquisitionDate, found.PatientAddress, found.PatientComments = "20260203", WORD, WORD
    found.add_new(0x00091001, "LO", WORD)
    found.add_new(0x00090010, "LO", WORD)
    request = Dataset()
    request.RequestedProcedureDescription = request.ScheduledProcedureStepDescription = WORD
    request.add_new(0x00111010, "LO", WORD)
    found.RequestAttributesSequence = Sequence([request])
    anatomy, code = Dataset(), Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "12738006", "SCT", "Brain"
    code.add_new(0x00111010, "LO", WORD)
    code.PersonName = NAME
    anatomy.AnatomicRegionModifierSequence = Sequence([code])
    found.AnatomicRegionSequence = Sequence([anatomy])
    found.ReferencedImageSequence = Sequence([reference(found.SOPInstanceUID)])
    found.file_meta.SourceApplicationEntityTitle = WORD
    target = io.BytesIO()
    found.preamble = WORD.encode().ljust(128, b"\0")
    found.save_as(target, enforce_file_format=True)
    return target.getvalue() + b""


def reference(uid):
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.4", uid
    return item


def cleaned(files):
    """The stored files of an upload, by name, and their volume."""
    with deidentify_uploads(uploads(files), LIMITS) as kept:
        [packed] = kept
        packed.stream.seek(0)
        with zipfile.ZipFile(packed.stream) as archive:
            contents = {name: archive.read(name) for name in archive.namelist()}
        return contents, read_volume(kept, LIMITS)


def test_no_planted_text_is_kept_at_any_depth(files):
    contents, _ = cleaned({"PLANTED_DOE.zip": zipped(files)})
    everything = b"".join(contents.values())
    assert WORD.encode() in b"".join(files.values())
    assert not any(word in everything for word in (WORD.encode(), b"Doe", b"Jane", b"20260203", b"19700101"))
    assert list(contents) == [f"{number:04}.dcm" for number in range(1, 19)]


@pytest.mark.parametrize("packing", ["loose", "folder", "zip"])
def test_a_study_is_cleaned_however_it_was_sent(files, packing):
    sent = {"loose": files, "folder": {f"study/a/{name}": each for name, each in files.items()}}
    streams = [
        Upload(name, io.BufferedReader(io.BytesIO(content)))  # like the gateway's: without a file name
        for name, content in sent.get(packing, {"study.zip": zipped(files)}).items()
    ]
    with deidentify_uploads(streams, LIMITS) as kept:
        assert np.array_equal(read_volume(kept, LIMITS).pixels, read_volume(streams, LIMITS).pixels)


def test_pixels_positions_and_roles_are_kept(files):
    _, volume = cleaned(files)
    plain = volume_of(files)
    assert np.array_equal(volume.pixels, plain.pixels)
    assert np.array_equal(volume.affine, plain.affine)
    assert volume.sequences == plain.sequences


def test_every_uid_is_new_and_equal_ones_stay_equal(files):
    contents, _ = cleaned(files)
    before = [pydicom.dcmread(io.BytesIO(content)) for content in files.values()]
    after = [pydicom.dcmread(io.BytesIO(content)) for content in contents.values()]
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID"):
        old, new = ([getattr(each, keyword) for each in some] for some in (before, after))
        assert not set(old) & set(new)
        assert [old.index(each) for each in old] == [new.index(each) for each in new]
    assert all(each.file_meta.MediaStorageSOPInstanceUID == each.SOPInstanceUID for each in after)
    assert all(each.ReferencedImageSequence[0].ReferencedSOPInstanceUID == each.SOPInstanceUID for each in after)
    assert {each.SOPClassUID for each in after} == {each.SOPClassUID for each in before}


def test_two_submissions_of_one_study_share_no_identifier(files):
    first, second = cleaned(files)[0], cleaned(files)[0]
    [(_, one), *_], [(_, other), *_] = first.items(), second.items()
    one, other = pydicom.dcmread(io.BytesIO(one)), pydicom.dcmread(io.BytesIO(other))
    assert one.StudyInstanceUID != other.StudyInstanceUID
    assert one.PatientID != other.PatientID


def test_the_file_says_what_was_done(files):
    [(_, content), *_] = cleaned(files)[0].items()
    found = pydicom.dcmread(io.BytesIO(content))
    assert found.PatientIdentityRemoved == "YES"
    assert [each.CodeValue for each in found.DeidentificationMethodCodeSequence] == ["113100", "113105"]
    assert str(found.PatientName) == found.PatientID != ""


def test_segmentation_and_report_belong_to_the_new_study(files, phantom):
    contents, volume = cleaned(files)
    made, _, warnings = answered(volume, phantom.mask)
    assert warnings == ()
    sources = [pydicom.dcmread(io.BytesIO(content)) for content in contents.values()]
    instances = {each.SOPInstanceUID for each in sources}
    for content in made.values():
        found = pydicom.dcmread(io.BytesIO(content))
        assert found.StudyInstanceUID == sources[0].StudyInstanceUID
        assert found.PatientID == sources[0].PatientID
        assert not any(word in content for word in (WORD.encode(), b"Doe"))
    segments = pydicom.dcmread(io.BytesIO(made["segmentation.dcm"]))
    referenced = {
        each.ReferencedSOPInstanceUID for each in segments.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    }
    assert referenced <= instances


def test_an_enhanced_and_a_compressed_file_stay_readable(phantom, files):
    pixels = phantom.volume.pixels[..., 1].astype(np.uint16)
    enhanced = enhanced_file(pixels, phantom.volume.affine, SERIES_PARAMETERS["flair"])
    contents, volume = cleaned({"x": enhanced})
    assert np.array_equal(volume.pixels[..., 1], pixels)
    assert b"PHANTOM-1" not in contents["0001.dcm"]
    found = pydicom.dcmread(io.BytesIO(next(iter(files.values()))))
    found.compress(JPEGLSLossless)
    target = io.BytesIO()
    found.save_as(target, enforce_file_format=True)
    _, packed = cleaned({"x": target.getvalue()})
    assert np.array_equal(packed.pixels[0, ..., 1], found.pixel_array)


def test_elements_after_the_pixels_are_removed(files):
    name, content = next(iter(files.items()))
    trailer = b"\xfc\xff\xfc\xffOB\0\0" + len(WORD + "X").to_bytes(4, "little") + f"{WORD}X".encode()
    contents, _ = cleaned({name: content + trailer})
    assert WORD.encode() not in contents["0001.dcm"]


def test_an_image_with_burned_in_text_is_refused(files):
    found = pydicom.dcmread(io.BytesIO(next(iter(files.values()))))
    found.BurnedInAnnotation = "YES"
    target = io.BytesIO()
    found.save_as(target, enforce_file_format=True)
    with pytest.raises(UnusableImage, match="burned"), deidentify_uploads(uploads({"x": target.getvalue()}), LIMITS):
        pass


def test_objects_other_than_images_are_not_kept(files, phantom):
    made, _, _ = answered(volume_of(files), phantom.mask)
    contents, _ = cleaned({"study.zip": zipped({**files, **made, "notes.txt": b"Jane Doe"})})
    assert len(contents) == len(files)
    with pytest.raises(UnsupportedFormat, match="no MR image"), deidentify_uploads(uploads(made), LIMITS):
        pass


def test_a_study_without_dicom_is_refused():
    with pytest.raises(InvalidParameter, match="DICOM"), deidentify_uploads([upload(png())], LIMITS):
        pass


def test_truncated_pixels_are_refused(files):
    cut = {name: content[:-100] for name, content in files.items()}
    with pytest.raises(UnreadableImage), deidentify_uploads(uploads(cut), LIMITS):
        pass


def test_a_sequence_known_only_by_its_description_keeps_its_role(phantom):
    parameters = SeriesParameters(
        number=7, description="TOF angio", echo_ms=4, repetition_ms=25, scanning_sequence=("GR",), study="study"
    )
    angio = series_files(phantom.volume.pixels[..., 0].astype(np.uint16) + 1, phantom.volume.affine, parameters)
    flair = {name: each for name, each in study_files(phantom).items() if b"FLAIR" in each}
    assert cleaned({**flair, **angio})[1].sequences == volume_of({**flair, **angio}).sequences


def test_the_option_is_sent_and_changes_the_idempotency_key():
    parsed = main._parser().parse_args(["segment", "study", "--out", "out", "--deidentify", "--formats", "dicom-seg"])
    how = parse_options(parsed)
    assert how.deidentify and [export.name for export in how.exports] == ["dicom-seg"]
    plain, private = RunState(study_sha256="1"), RunState(study_sha256="1", deidentify=True)
    assert not plain.is_same_request(private) and plain.idempotency_key != private.idempotency_key
    local = main._parser().parse_args(["segment", "s", "--out", "o", "--deidentify", "--local", "--model-dir", "m"])
    with pytest.raises(UsageError, match="nothing leaves"):
        parse_options(local)
