"""From a training folder to samples.

- `layouts`: the files of a folder by their meaning, in the layouts of common data sets.
- `scan`, `scan_slices`, `scan_volumes`, `audit`: which patients can be used, and why the rest cannot.
- `dataset`, `volumes`, `masks`: a patient's images and truth.
- `split`, `split_file`, `leakage`: patients on sides and in folds, as a file, and no one on two sides.
- `skull_stripping`, `lesion_synthesis`, `spacing`: derived from a patient's scans.
- `prepared`, `samples`, `augment`, `config`: sources in memory-mapped files, and the samples drawn from them.
- `structures`: slices with core and whole, of which a data set may know only one; imported by name.
- `reviewed`: studies that readers have reviewed, from the store of a deployment.
- `download`, `phantoms`, `phantom_layouts`: a public data set, and one of drawn heads.
"""

from metseg_trainer.data.audit import Audit
from metseg_trainer.data.augment import LESION_LEVEL, Augmentation
from metseg_trainer.data.config import AugmentationConfig, SamplingConfig, Source
from metseg_trainer.data.dataset import Patient, SlicePair, VolumeSlice, fingerprint, load_patient
from metseg_trainer.data.download import download_dataset
from metseg_trainer.data.image_files import read_mask
from metseg_trainer.data.layouts import site_of
from metseg_trainer.data.leakage import check_split
from metseg_trainer.data.lesion_synthesis import ImplantedStudy, enhancing_mask, implant_lesions, lesion_free_run
from metseg_trainer.data.phantoms import PHANTOM_LAYOUTS, write_phantoms
from metseg_trainer.data.prepared import prepare_sources
from metseg_trainer.data.reviewed import REVIEWED_SITE, fetch_reviewed, scan_reviewed, split_reviewed
from metseg_trainer.data.samples import PreparedStudy, SampleDataset, StepBatchSampler, prepare_study
from metseg_trainer.data.scan import scan_folder
from metseg_trainer.data.skull_stripping import brain_mask, strip_skull
from metseg_trainer.data.spacing import spacing_or_assumed_mm
from metseg_trainer.data.split import k_fold_splits, leave_site_out_split, split_by_slice, split_patients
from metseg_trainer.data.split_file import SPLIT, Split, check_unseen, read_split, split_sha256, write_split
from metseg_trainer.data.volumes import read_study

__all__ = [
    "LESION_LEVEL",
    "PHANTOM_LAYOUTS",
    "REVIEWED_SITE",
    "SPLIT",
    "Audit",
    "Augmentation",
    "AugmentationConfig",
    "ImplantedStudy",
    "Patient",
    "PreparedStudy",
    "SampleDataset",
    "SamplingConfig",
    "SlicePair",
    "Source",
    "Split",
    "StepBatchSampler",
    "VolumeSlice",
    "brain_mask",
    "check_split",
    "check_unseen",
    "download_dataset",
    "enhancing_mask",
    "fetch_reviewed",
    "fingerprint",
    "implant_lesions",
    "k_fold_splits",
    "leave_site_out_split",
    "lesion_free_run",
    "load_patient",
    "prepare_sources",
    "prepare_study",
    "read_mask",
    "read_split",
    "read_study",
    "scan_folder",
    "scan_reviewed",
    "site_of",
    "spacing_or_assumed_mm",
    "split_by_slice",
    "split_patients",
    "split_reviewed",
    "split_sha256",
    "strip_skull",
    "write_phantoms",
    "write_split",
]
