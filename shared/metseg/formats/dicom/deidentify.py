"""De-identification of MR images: the Basic Application Level Confidentiality Profile, PS3.15 Annex E, and more.

- The profile's action for every attribute at every depth, and of what it keeps only a list (`clean_header`).
- UIDs are mapped, equal ones to equal ones. The map depends on a secret that is discarded with the submission, so it
  cannot be reversed, and two submissions share nothing.
- Clean Descriptors Option in its narrowest form: of the description of a series only its role is kept, since it may be
  the only sign of a FLAIR.
- Pixels keep their values, but overlays in unused bits and comments in code streams are removed (`clean_pixels`). An
  image that declares burned-in text is refused. A face can be recognised from a head: this is not defacing.
"""

from io import BytesIO
from typing import BinaryIO

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import UID

from metseg.errors import UnsupportedFormat, UnusableImage
from metseg.formats.dicom.acquisition import component_of, read_acquisition
from metseg.formats.dicom.clean_header import Pseudonyms, clean_header
from metseg.formats.dicom.clean_pixels import copy_pixels
from metseg.formats.dicom.evidence import weigh
from metseg.formats.dicom.header_values import get_string
from metseg.formats.dicom.instances import TAGS
from metseg.formats.dicom.pixels import SUPPORTED_SYNTAXES
from metseg.formats.dicom.safe_read import find_pixels, read_elements, translate_errors

__all__ = ["Pseudonyms", "deidentify"]

T1_DESCRIPTIONS = {True: "T1 post contrast", False: "T1 pre contrast", None: "T1"}
DESCRIPTIONS = {"flair": "FLAIR", "other": "OTHER", None: "UNKNOWN"}
METHODS = (
    ("113100", "Basic Application Confidentiality Profile"),
    ("113105", "Clean Descriptors Option"),
)


def deidentify(source: BinaryIO, target: BinaryIO, pseudonyms: Pseudonyms) -> None:
    """Write an MR image without identifying attributes; its pixels are streamed.

    Args:
        source: an MR image as DICOM.
        target: takes the new file.
        pseudonyms: of the submission.

    Raises:
        UnreadableImage: the file is damaged.
        UnusableImage: it declares burned-in text.
    """
    with translate_errors():
        dataset = read_elements(source, ())
        syntax = UID(str(dataset.file_meta.TransferSyntaxUID))
        if syntax not in SUPPORTED_SYNTAXES:
            raise UnsupportedFormat("A DICOM file is compressed in a way that cannot be read; export it uncompressed.")
        cleaned = clean_header(dataset, pseudonyms)
        described = read_elements(source, TAGS)
        if "YES" in get_string(described, "BurnedInAnnotation").upper():
            raise UnusableImage(
                "An image has text burned into its pixels, so it cannot be de-identified; send it without them."
            )
        _keep_meaning(described, cleaned)
        _add_deidentification_attributes(cleaned, pseudonyms.patient(get_string(described, "PatientID")))
        header, pixel_offset = _header_bytes(cleaned, syntax), find_pixels(source)
    target.write(header)
    source.seek(pixel_offset)
    copy_pixels(source, target, cleaned, syntax)


def _keep_meaning(dataset: Dataset, cleaned: Dataset) -> None:
    """Keep what the removed text and private elements say of the sequence.

    Args:
        dataset: the original, with values parsed.
        cleaned: its cleaned header, which is changed.
    """
    acquisition = read_acquisition(dataset)
    evidence = weigh(acquisition)
    weighting = evidence.weighting
    cleaned.SeriesDescription = T1_DESCRIPTIONS[evidence.contrast] if weighting == "t1" else DESCRIPTIONS[weighting]
    cleaned.pop("ContrastBolusAgent", None)
    if acquisition.agent:
        cleaned.ContrastBolusAgent = "REMOVED"
    component = component_of(dataset)
    if component:
        cleaned.ComplexImageComponent = component


def _add_deidentification_attributes(dataset: Dataset, patient: str) -> None:
    """Set the attributes that the profile requires, and the pseudonym."""
    dataset.PatientName = dataset.PatientID = patient
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = "metseg: PS3.15 Annex E basic profile"
    dataset.LongitudinalTemporalInformationModified = "REMOVED"
    dataset.DeidentificationMethodCodeSequence = Items([])
    for value, meaning in METHODS:
        code = Dataset()
        code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, "DCM", meaning
        dataset.DeidentificationMethodCodeSequence.append(code)


def _header_bytes(dataset: Dataset, syntax: UID) -> bytes:
    """The file up to its pixels, with a new preamble and meta information."""
    dataset.preamble = bytes(128)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    target = BytesIO()
    dataset.save_as(target, enforce_file_format=True)
    return target.getvalue()
