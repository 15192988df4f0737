"""Folder -> audit -> patients: the contents of a training folder, the usable part, and why the rest is unusable."""

from pathlib import Path

from metseg.contracts import Structure
from metseg.errors import DatasetError
from metseg_trainer.data.audit import Audit
from metseg_trainer.data.dataset import Patient
from metseg_trainer.data.layouts import LABELS_FILE, find_studies
from metseg_trainer.data.scan_slices import audit_slices
from metseg_trainer.data.scan_volumes import audit_volumes

__all__ = ["scan_folder"]


def scan_folder(folder: Path, structure: Structure = "whole") -> tuple[list[Patient], Audit]:
    """Read a whole training folder and find its usable patients.

    Args:
        folder: in one of the layouts of `metseg_trainer.data.layouts`, or described by a labels.yaml; stray files and
            copies of the tree are harmless.
        structure: that is learned, so that its truth must be known.

    Returns:
        Patients ordered by id, and the audit.

    Raises:
        DatasetError: the folder cannot be listed, one patient is in train/ and in test/, or nothing can be used,
            as pairs of slice and mask for the core.
    """
    if not folder.is_dir():
        raise DatasetError(f"There is no folder {folder}; docs/data.md lists the layouts that metseg reads.")
    found = find_studies(folder)
    if found.slices and structure == "core":
        raise DatasetError(f"{folder} holds slices; the core is learned from studies of volumes, and from BRISC.")
    patients, audit = audit_slices(folder, found) if found.slices else audit_volumes(found, structure)
    if not patients:
        raise DatasetError(
            f"Nothing in {folder} can be used: {audit.left_out()}; docs/data.md lists the layouts that metseg reads, "
            f"and how a {LABELS_FILE} describes any other."
        )
    return patients, audit
