"""What every result in DICOM has: the patient and the study of its source, and the equipment that made it."""

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ImplicitVRLittleEndian

from metseg.formats.dicom.segmentation import MANUFACTURER, AlgorithmRun
from metseg.formats.dicom.source_headers import SourceImages

__all__ = ["start_result"]

FROM_SOURCE = (
    *("SpecificCharacterSet", "TimezoneOffsetFromUTC"),
    *("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex"),
    *("PatientAge", "PatientSize", "PatientWeight"),
    *("PatientIdentityRemoved", "DeidentificationMethod", "DeidentificationMethodCodeSequence"),
    *("StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName"),
    "StudyDescription",
)


def start_result(origin: SourceImages, sop_class: UID, algorithm: AlgorithmRun, series_number: int) -> Dataset:
    """Begin a result in implicit VR.

    Args:
        origin: the source images.
        sop_class: of the result.
        algorithm: what found the lesions.
        series_number: of its series.

    Returns:
        A data set without identifiers of series and instance.
    """
    dataset, header = Dataset(), origin.headers[0]
    for keyword in FROM_SOURCE:
        if keyword in header:
            dataset[keyword] = header[keyword]
    dataset.SOPClassUID = sop_class
    dataset.SeriesNumber = series_number
    dataset.OperatorsName = ""
    dataset.Manufacturer = MANUFACTURER
    dataset.ManufacturerModelName = algorithm.network
    dataset.DeviceSerialNumber = algorithm.version
    dataset.SoftwareVersions = algorithm.version
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    return dataset
