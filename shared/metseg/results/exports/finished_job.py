"""What the exports need of a finished job, wherever its artefacts are stored."""

from contextlib import AbstractContextManager
from datetime import datetime
from typing import BinaryIO, Protocol

from metseg.contracts import ModelCard, Result

MASK, PROBABILITY = "mask.nii.gz", "probability.nii.gz"
"""Artefacts of the structure that the lesions are components of."""
WHOLE_MASK, WHOLE_PROBABILITY = "whole.nii.gz", "whole_probability.nii.gz"
"""The same of the whole, where the lesions are of the core."""
UNCERTAINTY = "uncertainty.nii.gz"
SOURCE_HEADERS = "source.zip"
"""The headers of a DICOM study that its results refer to."""
LESIONS = "lesions.nii.gz"
"""The number of the lesion at each voxel, 0 elsewhere."""


class FinishedJob(Protocol):
    """A job that succeeded."""

    def result(self) -> Result:
        """The job's result."""

    def model_card(self) -> ModelCard | None:
        """The card of the model that found the lesions; None if that version has been deleted."""

    def finished_at(self) -> datetime | None:
        """When the job finished; None if unknown."""

    def open_artefact(self, name: str) -> AbstractContextManager[BinaryIO]:
        """An artefact by the name that `build_artefacts` gave it, to be read forwards; NotFound."""

    def slice_png(self, index: int) -> bytes:
        """A slice as `render_slices` drew it; the first is 0; NotFound."""
