"""De-identification of MR images: the Basic Application Level Confidentiality Profile, PS3.15 Annex E.

The action for each attribute comes from the standard's table E.1-1, edition 2026c, as in the package dicom-anonymizer
(BSD). The traversal is metseg's own, since it must stream pixels, be consistent only within one submission, and be
strict:

- The profile's action for every attribute at every depth. X, X/Z and X/D remove or empty; D and Z/D replace a value by
  a dummy; U maps a UID, equal ones to equal ones. The map depends on a secret that is discarded with the submission, so
  it cannot be reversed, and two submissions share nothing.
- Private attributes, and attributes that the standard's dictionary does not know, are removed.
- Clean Descriptors Option in its narrowest form: of the description of a series only its role is kept, since it may be
  the only sign of a FLAIR.
- Pixels are copied unchanged. An image that declares burned-in text is refused. A face can be recognised from a head:
  this is not defacing.
"""

import hmac
import uuid
from dataclasses import dataclass, field
from functools import cache
from io import BytesIO
from secrets import token_bytes
from typing import BinaryIO

from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataelem import DataElement, empty_value_for_VR
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.tag import BaseTag
from pydicom.uid import UID, ExplicitVRBigEndian, ImplicitVRLittleEndian

from metseg.errors import UnreadableImage, UnusableImage
from metseg.formats.dicom.acquisition import component_of, read_acquisition
from metseg.formats.dicom.evidence import weigh
from metseg.formats.dicom.safe_read import DAMAGED_PIXELS, find_pixels, read_elements, translate_errors

__all__ = ["Pseudonyms", "deidentify"]

EDITION = "dicomfields_2026c"
CHUNK_BYTES = 2**20
UNDEFINED_LENGTH = 0xFFFFFFFF
DELIMITER_TAG, ITEM_TAG = 0xFFFEE0DD, 0xFFFEE000
T1_DESCRIPTIONS = {True: "T1 post contrast", False: "T1 pre contrast", None: "T1"}
DESCRIPTIONS = {"flair": "FLAIR", "other": "OTHER", None: "UNKNOWN"}
DUMMIES = {"DA": "19000101", "TM": "000000", "DT": "19000101000000", "AS": "000Y", "UR": "urn:removed"}
TEXT_VRS = ("AE", "CS", "LO", "LT", "SH", "ST", "UC", "UT", "PN")
METHODS = (
    ("113100", "Basic Application Confidentiality Profile"),
    ("113105", "Clean Descriptors Option"),
)


@dataclass(frozen=True)
class Pseudonyms:
    """New identifiers for one submission; equal identifiers get equal pseudonyms."""

    secret: bytes = field(default_factory=lambda: token_bytes(32), repr=False)

    def uid(self, old: str) -> str:
        """For an instance, series, study, frame of reference or anything else."""
        return f"2.25.{uuid.UUID(bytes=self._digest('uid', old)[:16], version=5).int}"

    def patient(self, old: str) -> str:
        """For a patient: both name and identifier."""
        return f"ANON-{self._digest('patient', old)[:4].hex().upper()}"

    def _digest(self, kind: str, old: str) -> bytes:
        return hmac.digest(self.secret, f"{kind} {old}".encode(errors="surrogateescape"), "sha256")


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
        if str(dataset.get("BurnedInAnnotation", "")).upper() == "YES":
            raise UnusableImage(
                "An image has text burned into its pixels, so it cannot be de-identified; send it without them."
            )
        acquisition = read_acquisition(dataset)
        evidence = weigh(acquisition)
        weighting = evidence.weighting
        description = T1_DESCRIPTIONS[evidence.contrast] if weighting == "t1" else DESCRIPTIONS[weighting]
        if not acquisition.agent:  # a dummy would name an agent
            dataset.pop("ContrastBolusAgent", None)
        patient = str(dataset.get("PatientID", ""))
        component = component_of(dataset)
        _clean(dataset, pseudonyms)
        if component:  # a private element that is removed may have been the only one to say so
            dataset.ComplexImageComponent = component
        _add_deidentification_attributes(dataset, description, pseudonyms.patient(patient))
        header, pixel_offset = _header_bytes(dataset), find_pixels(source)
    target.write(header)
    source.seek(pixel_offset)
    _copy_pixels(source, target, UID(dataset.file_meta.TransferSyntaxUID))


def _clean(dataset: Dataset, pseudonyms: Pseudonyms) -> None:
    """Apply the profile to a data set and all nested ones."""
    for tag in list(dataset.keys()):
        action = _action(tag)
        if action == "X":
            del dataset[tag]
            continue
        vr = dataset.get_item(tag).VR or dictionary_VR(tag)
        if vr == "UN" and dictionary_has_tag(tag):
            vr = dictionary_VR(tag)
        if vr == "SQ":
            _clean_items(dataset, tag, action, pseudonyms)
        elif vr == "UI":
            _map_uids(dataset, tag, pseudonyms)
        elif action == "Z":
            dataset[tag] = DataElement(tag, vr, empty_value_for_VR(vr))
        elif action == "D":
            _replace(dataset, tag, vr)


def _clean_items(dataset: Dataset, tag: BaseTag, action: str, pseudonyms: Pseudonyms) -> None:
    if action in ("Z", "D"):
        dataset[tag] = DataElement(tag, "SQ", Items([]))
        return
    for item in dataset[tag].value or []:
        _clean(item, pseudonyms)


def _map_uids(dataset: Dataset, tag: BaseTag, pseudonyms: Pseudonyms) -> None:
    """Replace all UIDs except those that the standard registers."""
    value = dataset[tag].value
    values = [value] if isinstance(value, str) else list(value or [])
    mapped = [old if UID(old).name != old else pseudonyms.uid(old) for old in map(str, values) if old]
    dataset[tag] = DataElement(tag, "UI", mapped)


def _replace(dataset: Dataset, tag: BaseTag, vr: str) -> None:
    """Replace a value by a dummy; an empty value stays empty."""
    if not dataset[tag].value:
        return
    if vr in DUMMIES or vr in TEXT_VRS:
        dataset[tag] = DataElement(tag, vr, DUMMIES.get(vr, "REMOVED"))
    else:
        del dataset[tag]


def _add_deidentification_attributes(dataset: Dataset, description: str, patient: str) -> None:
    """Set the attributes that the profile requires, and the pseudonym."""
    dataset.PatientName = dataset.PatientID = patient
    dataset.SeriesDescription = description
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = "metseg: PS3.15 Annex E basic profile"
    dataset.LongitudinalTemporalInformationModified = "REMOVED"
    dataset.DeidentificationMethodCodeSequence = Items([])
    for value, meaning in METHODS:
        code = Dataset()
        code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, "DCM", meaning
        dataset.DeidentificationMethodCodeSequence.append(code)


@cache
def _profile() -> tuple[dict[tuple[int, int], str], tuple[tuple[int, int, int, int], ...]]:
    """The action for each attribute, and the masked groups to remove: X, Z, D or U."""
    from dicomanonymizer.dicomfields_selector import dicom_anonymization_database_selector

    table = dicom_anonymization_database_selector(EDITION)
    lists = {
        "X_TAGS": "X",
        "Z_TAGS": "Z",
        "D_TAGS": "D",
        "U_TAGS": "U",
        "Z_D_TAGS": "D",
        "X_Z_TAGS": "Z",
        "X_D_TAGS": "D",
        "X_Z_D_TAGS": "D",
        "X_Z_U_STAR_TAGS": "U",
    }
    actions = {tuple(tag): action for name, action in lists.items() for tag in table[name] if len(tag) == 2}
    masked = tuple(tuple(tag) for tag in table["X_TAGS"] if len(tag) == 4)
    return actions, masked


def _action(tag: BaseTag) -> str:
    """X remove, Z empty, D replace, U map; an empty string where the profile keeps the attribute."""
    actions, masked = _profile()
    if tag.is_private or not dictionary_has_tag(tag):
        return "X"
    if any(
        tag.group & groups == group & groups and tag.element & elements == element & elements
        for group, element, groups, elements in masked
    ):
        return "X"
    return actions.get((tag.group, tag.element), "")


def _header_bytes(dataset: FileDataset) -> bytes:
    """The file up to its pixels, with a new preamble and meta information."""
    syntax = dataset.file_meta.TransferSyntaxUID
    dataset.preamble = bytes(128)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    target = BytesIO()
    dataset.save_as(target, enforce_file_format=True)
    return target.getvalue()


def _copy_pixels(source: BinaryIO, target: BinaryIO, syntax: UID) -> None:
    """Copy the pixel element, at which `source` stands, but not what follows it (padding, signatures)."""
    order = "big" if syntax == ExplicitVRBigEndian else "little"
    header = _read_exactly(source, 8)
    if syntax != ImplicitVRLittleEndian:
        if header[4:6] in (b"OB", b"OW", b"UN", b"OF", b"OD"):
            header += _read_exactly(source, 4)
        else:
            raise UnreadableImage(DAMAGED_PIXELS)
    length = int.from_bytes(header[-4:], order)  # type: ignore[arg-type]
    target.write(header)
    if length != UNDEFINED_LENGTH:
        _copy(source, target, length)
        return
    while True:
        item = _read_exactly(source, 8)
        target.write(item)
        tag = int.from_bytes(item[:2], "little") << 16 | int.from_bytes(item[2:4], "little")
        if tag == DELIMITER_TAG:
            return
        if tag != ITEM_TAG:
            raise UnreadableImage(DAMAGED_PIXELS)
        _copy(source, target, int.from_bytes(item[4:], "little"))


def _copy(source: BinaryIO, target: BinaryIO, length: int) -> None:
    while length:
        chunk = _read_exactly(source, min(length, CHUNK_BYTES))
        length -= len(chunk)
        target.write(chunk)


def _read_exactly(source: BinaryIO, count: int) -> bytes:
    data = source.read(count)
    if len(data) < count:
        raise UnreadableImage(DAMAGED_PIXELS)
    return data
