"""Layouts of data sets with images and outlines, each a plain function from a folder to its studies or None.

`LAYOUTS` is the registry: the first layout that recognises a folder reads all of it. To add one, write a function in a
new file, name it in the registry before the layouts whose files it could be mistaken for, and add its phantom to
`phantom_layouts`. A labels.yaml in the folder overrides what labels mean.
"""

from collections.abc import Callable
from pathlib import Path

from metseg.errors import DatasetError
from metseg_trainer.data.layouts.bids import find_bids
from metseg_trainer.data.layouts.brainmetshare import find_brainmetshare
from metseg_trainer.data.layouts.brats import find_brats
from metseg_trainer.data.layouts.dicom import find_dicom
from metseg_trainer.data.layouts.labels_file import LABELS_FILE, find_named_files, read_labels_file
from metseg_trainer.data.layouts.nnunet import find_nnunet
from metseg_trainer.data.layouts.raster import find_slices, person_of, site_of
from metseg_trainer.data.layouts.studies import (
    FolderContents,
    ImageFiles,
    Label,
    PatientFiles,
    SliceFiles,
    StructureLabels,
    Subset,
    TruthFiles,
    VolumeFiles,
)
from metseg_trainer.data.layouts.ucsf import find_ucsf

__all__ = [
    "LABELS_FILE",
    "LAYOUTS",
    "FolderContents",
    "ImageFiles",
    "Label",
    "PatientFiles",
    "SliceFiles",
    "StructureLabels",
    "Subset",
    "TruthFiles",
    "VolumeFiles",
    "find_studies",
    "person_of",
    "site_of",
]

LAYOUTS: tuple[Callable[[Path], FolderContents | None], ...] = (
    find_named_files,
    find_nnunet,
    find_bids,
    find_ucsf,
    find_brats,
    find_brainmetshare,
    find_dicom,
    find_slices,
)


def find_studies(folder: Path) -> FolderContents:
    """The studies of a folder by the first layout that recognises it, with the meaning of labels from its labels.yaml.

    Raises:
        DatasetError: no layout recognises the folder, it cannot be listed, or its labels.yaml is invalid.
    """
    overrides = read_labels_file(folder)
    for find in LAYOUTS:
        found = find(folder)
        if found is not None:
            return overrides.applied_to(found)
    raise DatasetError(
        f"Nothing in {folder} can be used: no file is named as in a layout that metseg reads. docs/data.md lists them, "
        f"and how a {LABELS_FILE} describes any other."
    )
