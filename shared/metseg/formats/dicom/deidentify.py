"""De-identification of MR images: the Basic Application Level Confidentiality Profile, PS3.15 Annex E.

What is done to which attribute is the standard's table E.1-1, edition 2026c, as the package dicom-anonymizer (BSD)
keeps it; the walk is ours, for it has to be streamed, consistent within one submission alone, and strict:

- The profile's action for every attribute at every depth. X, X/Z and X/D remove or empty; D and Z/D put a dummy in
  the place of what is there; U maps a UID, equal ones to equal ones. The map is made of a secret that is forgotten
  with the submission, so nobody can go back, and two submissions share nothing.
- Private attributes, and attributes that the standard's dictionary does not know, are removed.
- Clean Descriptors Option in its narrowest form: of the description of a series only its role is kept, since it may
  be all that tells a FLAIR.
- Pixels are copied as they are. An image that says that words are burned into it is refused. A face can be told
  from a head: this is no defacing.
"""

import hmac
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from io import BytesIO
from secrets import token_bytes
from typing import BinaryIO

from pydicom import dcmread
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataelem import DataElement, empty_value_for_VR
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.tag import BaseTag
from pydicom.uid import UID, ExplicitVRBigEndian, ImplicitVRLittleEndian

from metseg.errors import UnreadableImage, UnusableImage
from metseg.formats.dicom.instances import traits_of
from metseg.formats.dicom.roles import role_of
from metseg.formats.dicom.safe_read import header, legible

__all__ = ["Pseudonyms", "deidentify"]

EDITION = "dicomfields_2026c"
CHUNK_BYTES = 2**20
UNDEFINED = 0xFFFFFFFF
DELIMITER, ITEM = 0xFFFEE0DD, 0xFFFEE000
CUT_OFF = "The pixels of a DICOM file are damaged or cut off; export it again."
ROLE_WORDS = {"flair": "FLAIR", "pre": "T1", "post": "T1 post contrast", None: "OTHER"}
DUMMIES = {"DA": "19000101", "TM": "000000", "DT": "19000101000000", "AS": "000Y", "UR": "urn:removed"}
TEXTS = ("AE", "CS", "LO", "LT", "SH", "ST", "UC", "UT", "PN")
METHODS = (
    ("113100", "Basic Application Confidentiality Profile"),
    ("113105", "Clean Descriptors Option"),
)


@dataclass(frozen=True)
class Pseudonyms:
    """New identifiers for one submission; equal ones become equal ones."""

    secret: bytes = field(default_factory=lambda: token_bytes(32), repr=False)

    def uid(self, old: str) -> str:
        """Of an instance, series, study, frame of reference or anything else."""
        return f"2.25.{uuid.UUID(bytes=self._digest('uid', old)[:16], version=5).int}"

    def patient(self, old: str) -> str:
        """Of a patient: name and identifier in one."""
        return f"ANON-{self._digest('patient', old)[:4].hex().upper()}"

    def _digest(self, kind: str, old: str) -> bytes:
        return hmac.digest(self.secret, f"{kind} {old}".encode(errors="surrogateescape"), "sha256")


def deidentify(source: BinaryIO, target: BinaryIO, pseudonyms: Pseudonyms) -> None:
    """Write an MR image without what identifies a patient; its pixels are streamed.

    Args:
        source: an MR image as DICOM.
        target: takes the new file.
        pseudonyms: of the submission.

    Raises:
        UnreadableImage: the file is damaged.
        UnsupportedFormat: its data set is deflated.
        UnusableImage: it says that words are burned into its pixels.
    """
    with legible():
        found = header(source, ())
        if str(found.get("BurnedInAnnotation", "")).upper() == "YES":
            raise UnusableImage(
                "An image says that words are burned into it, so it cannot be de-identified; send it without them."
            )
        traits = traits_of(found)
        role = role_of(traits)[0]
        if not traits.contrast:  # a dummy in its place would name an agent
            found.pop("ContrastBolusAgent", None)
        patient = str(found.get("PatientID", ""))
        _clean(found, pseudonyms)
        _tell(found, ROLE_WORDS[role], pseudonyms.patient(patient))
        head, pixels_at = _header_bytes(found), _pixels_at(source)
    target.write(head)
    source.seek(pixels_at)
    _copy_pixels(source, target, UID(found.file_meta.TransferSyntaxUID))


def _clean(found: Dataset, pseudonyms: Pseudonyms) -> None:
    """Apply the profile to a data set and all within it."""
    for tag in list(found.keys()):
        action = _action(tag)
        if action == "X":
            del found[tag]
            continue
        vr = found.get_item(tag).VR or dictionary_VR(tag)
        if vr == "UN" and dictionary_has_tag(tag):
            vr = dictionary_VR(tag)
        if vr == "SQ":
            _clean_items(found, tag, action, pseudonyms)
        elif vr == "UI":
            _map_uids(found, tag, pseudonyms)
        elif action == "Z":
            found[tag] = DataElement(tag, vr, empty_value_for_VR(vr))
        elif action == "D":
            _replace(found, tag, vr)


def _clean_items(found: Dataset, tag: BaseTag, action: str, pseudonyms: Pseudonyms) -> None:
    if action in ("Z", "D"):
        found[tag] = DataElement(tag, "SQ", Items([]))
        return
    for item in found[tag].value or []:
        _clean(item, pseudonyms)


def _map_uids(found: Dataset, tag: BaseTag, pseudonyms: Pseudonyms) -> None:
    """New UIDs for all that no part of the standard registers."""
    value = found[tag].value
    values = [value] if isinstance(value, str) else list(value or [])
    mapped = [old if UID(old).name != old else pseudonyms.uid(old) for old in map(str, values) if old]
    found[tag] = DataElement(tag, "UI", mapped)


def _replace(found: Dataset, tag: BaseTag, vr: str) -> None:
    """A dummy for what is there; nothing stays nothing."""
    if not found[tag].value:
        return
    if vr in DUMMIES or vr in TEXTS:
        found[tag] = DataElement(tag, vr, DUMMIES.get(vr, "REMOVED"))
    else:
        del found[tag]


def _tell(found: Dataset, description: str, patient: str) -> None:
    """What the profile wants to be said of its use, and the pseudonym."""
    found.PatientName = found.PatientID = patient
    found.SeriesDescription = description
    found.PatientIdentityRemoved = "YES"
    found.DeidentificationMethod = "metseg: PS3.15 Annex E basic profile"
    found.LongitudinalTemporalInformationModified = "REMOVED"
    found.DeidentificationMethodCodeSequence = Items([])
    for value, meaning in METHODS:
        code = Dataset()
        code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, "DCM", meaning
        found.DeidentificationMethodCodeSequence.append(code)


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
    """X remove, Z empty, D replace, U map; an empty word where the profile keeps it."""
    actions, masked = _profile()
    if tag.is_private or not dictionary_has_tag(tag):
        return "X"
    if any(
        tag.group & groups == group & groups and tag.element & elements == element & elements
        for group, element, groups, elements in masked
    ):
        return "X"
    return actions.get((tag.group, tag.element), "")


def _header_bytes(found: FileDataset) -> bytes:
    """The file up to its pixels, with a preamble and meta information of our own."""
    syntax = found.file_meta.TransferSyntaxUID
    found.preamble = bytes(128)
    found.file_meta = FileMetaDataset()
    found.file_meta.TransferSyntaxUID = syntax
    found.file_meta.MediaStorageSOPClassUID = found.SOPClassUID
    found.file_meta.MediaStorageSOPInstanceUID = found.SOPInstanceUID
    target = BytesIO()
    found.save_as(target, enforce_file_format=True)
    return target.getvalue()


def _copy_pixels(source: BinaryIO, target: BinaryIO, syntax: UID) -> None:
    """The element of the pixels, at which `source` is; what follows it, padding or signatures, stays behind."""
    order = "big" if syntax == ExplicitVRBigEndian else "little"
    head = _exactly(source, 8)
    if syntax != ImplicitVRLittleEndian:
        if head[4:6] in (b"OB", b"OW", b"UN", b"OF", b"OD"):
            head += _exactly(source, 4)
        else:
            raise UnreadableImage(CUT_OFF)
    length = int.from_bytes(head[-4:], order)  # type: ignore[arg-type]
    target.write(head)
    if length != UNDEFINED:
        _copy(source, target, length)
        return
    while True:
        item = _exactly(source, 8)
        target.write(item)
        tag = int.from_bytes(item[:2], "little") << 16 | int.from_bytes(item[2:4], "little")
        if tag == DELIMITER:
            return
        if tag != ITEM:
            raise UnreadableImage(CUT_OFF)
        _copy(source, target, int.from_bytes(item[4:], "little"))


def _pixels_at(source: BinaryIO) -> int:
    """Where the element of the pixels begins: where a reader that stops before it comes to stand."""
    source.seek(0)
    dcmread(source, stop_before_pixels=True, specific_tags=["SOPClassUID"])
    return source.tell()


def _chunks(source: BinaryIO, length: int) -> Iterator[bytes]:
    while length:
        chunk = _exactly(source, min(length, CHUNK_BYTES))
        length -= len(chunk)
        yield chunk


def _copy(source: BinaryIO, target: BinaryIO, length: int) -> None:
    for chunk in _chunks(source, length):
        target.write(chunk)


def _exactly(source: BinaryIO, count: int) -> bytes:
    data = source.read(count)
    if len(data) < count:
        raise UnreadableImage(CUT_OFF)
    return data
