"""The audit of folders of volumes."""

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
from tqdm import tqdm

from metseg import formats
from metseg.contracts import Structure
from metseg.errors import DatasetError
from metseg.imaging import MISSING_SEQUENCE, POST, Volume
from metseg.parallel import cpu_quota, parallel_map
from metseg_trainer.data.audit import Audit, structure_counts
from metseg_trainer.data.dataset import Patient, VolumeSlice
from metseg_trainer.data.layouts import LABELS_FILE, FolderContents, Label, StructureLabels, VolumeFiles, site_of
from metseg_trainer.data.volumes import StudyVolume, read_study

__all__ = ["audit_volumes"]


class _Auditor:
    """Reads one study after another and counts its findings."""

    def __init__(self, structure: Structure) -> None:
        self.structure: Structure = structure
        self.lesion_slices = self.healthy = 0
        self.structures: list[tuple[bool, bool]] = []
        self.with_label: dict[Label, list[str]] = defaultdict(list)
        self.grids: Counter[str] = Counter()
        self.sequences: Counter[str] = Counter()
        self.left_out: Counter[str] = Counter()
        self.remarks: Counter[str] = Counter()
        self.core_only: list[str] = []
        self.unusable: list[tuple[str, str]] = []

    def patient(self, files: VolumeFiles, read: StudyVolume | str) -> Patient | None:
        """The patient of a study; None if it cannot be used, for the reason given instead."""
        self.left_out.update(set(files.left_out))
        if isinstance(read, str):
            self.unusable.append((files.id, read))
            return None
        self._count(files, read)
        truth = read.truth.of(self.structure)
        if self.structure == "core" and truth is not None and not read.volume.present[POST]:
            self.unusable.append((files.id, "it has no post-contrast T1, without which a core cannot be seen"))
            return None
        if truth is None:
            if read.truth.core is not None:
                self.core_only.append(files.id)
            elif read.truth.whole is not None:
                self.unusable.append((files.id, "its outlines show no core"))
            else:
                self.unusable.append((files.id, "its outlines show neither core nor whole"))
            return None
        lesion_slices = int(truth.any(axis=(1, 2)).sum())
        self.lesion_slices += lesion_slices
        self.healthy += not lesion_slices
        slices = tuple(VolumeSlice(index, name) for index, name in enumerate(read.volume.names))
        pixels = int(np.count_nonzero(truth))
        return Patient(files.id, site_of(files.id), slices, pixels, files.subset, files, self.structure)

    def _count(self, files: VolumeFiles, read: StudyVolume) -> None:
        self.structures.append((read.truth.core is not None, read.truth.whole is not None))
        for label in read.labels:
            self.with_label[label].append(files.id)
        self.grids[_grid(read.volume)] += 1
        self.sequences.update(_sequences(files, read))
        self.remarks.update(remark.removesuffix(".") for remark in read.remarks)

    def without_doubtful(self, patients: Sequence[Patient], labels: StructureLabels) -> list[Patient]:
        """The patients, except those with a label that the layout has only together with another."""
        for label, partner in labels.only_with:
            doubtful = {*self.with_label.get(label, ())}
            if not doubtful or partner in self.with_label:
                continue
            why = f"label {label} occurs but {partner} in no study: say in a {LABELS_FILE} what {label} means"
            self.unusable += [(patient.id, why) for patient in patients if patient.id in doubtful]
            patients = [patient for patient in patients if patient.id not in doubtful]
        return list(patients)

    def audit(self, patients: list[Patient], found: FolderContents) -> Audit:
        """The audit of everything read."""
        return Audit(
            patients=len(patients),
            slices=sum(len(patient.slices) for patient in patients),
            lesion_slices=self.lesion_slices,
            sites=dict(sorted(Counter(patient.site for patient in patients).items())),
            images_without_mask=tuple(found.images_without_mask),
            masks_without_image=tuple(found.masks_without_image),
            unreadable=(),
            shape_mismatch=(),
            unusable_patients=tuple(self.unusable),
            copies=found.copies,
            notes=tuple(found.notes),
            layout=found.layout,
            structures=structure_counts(self.structures),
            core_only=tuple(self.core_only),
            healthy=self.healthy,
            labels={str(label): len(self.with_label[label]) for label in sorted(self.with_label, key=str)},
            grids=dict(self.grids.most_common()),
            sequences=dict(sorted(self.sequences.items())),
            left_out_files=dict(sorted(self.left_out.items())),
            remarks=dict(self.remarks.most_common()),
        )


def audit_volumes(found: FolderContents, structure: Structure) -> tuple[list[Patient], Audit]:
    """Read all studies of a folder of volumes.

    Args:
        found: its contents.
        structure: that is learned.

    Returns:
        The patients that can be used, ordered by id, and the audit.
    """
    auditor = _Auditor(structure)
    studies = sorted(found.volumes, key=lambda study: formats.natural_key(study.id))
    read = parallel_map(_read, studies, max_concurrency=cpu_quota())
    bar = tqdm(read, desc="Reading studies", total=len(studies), unit="study", disable=None)
    judged = [auditor.patient(files, study) for files, study in zip(studies, bar, strict=True)]
    patients = [patient for patient in judged if patient is not None]
    for labels in {files.labels for files in studies}:
        patients = auditor.without_doubtful(patients, labels)
    return patients, auditor.audit(patients, found)


def _read(files: VolumeFiles) -> StudyVolume | str:
    """The study, or why it cannot be used."""
    try:
        return read_study(files)
    except DatasetError as error:
        return error.detail


def _sequences(files: VolumeFiles, read: StudyVolume) -> list[str]:
    """The sequences of a study; those of DICOM series are recognised by their headers."""
    if None not in files.images:
        return [role for role in files.images if role is not None]
    if any(remark.startswith("The upload is grey") for remark in read.remarks):
        return ["one of an unknown kind"]
    return [role for role, origin in read.volume.sequences.items() if origin != MISSING_SEQUENCE]


def _grid(volume: Volume) -> str:
    size = " x ".join(map(str, volume.shape))
    if volume.spacing_mm is None:
        return f"{size}, no spacing stored"
    return f"{size} at {' x '.join(f'{side:.3g}' for side in volume.spacing_mm)} mm"
