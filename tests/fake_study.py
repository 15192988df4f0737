"""A fake study: the phantom that a fake gateway answers with, as a model would have segmented it."""

import gzip
from collections.abc import Callable
from copy import copy

import nibabel
import numpy as np
from scipy import ndimage
from tests.segmentations import measured_structures

from metseg import phantom
from metseg.contracts import ModelCard, OperatingPoint, Result, Review, ReviewStamp
from metseg.imaging import Volume, lesions, select_components
from metseg.results.previews import INTERVAL_S, Previews
from metseg.results.review import ModelAnswer, ReviewedAnswer, StoredProbability, apply_review

THRESHOLD = 0.5


class FakeStudy:
    """The study of every job: a phantom, with a probability that decreases at the rim of its lesions."""

    def __init__(
        self,
        seed: int = 23,
        slices: int = 12,
        lesions_placed: int = 4,
        spacing: bool = True,
        min_voxels: float = 0,
        oedema_px: int = 0,
    ) -> None:
        head = phantom.head(seed, slices=slices, lesions=lesions_placed)
        self.pixels = head.volume.pixels.astype(np.uint8)
        self.names = head.volume.names
        self.affine: np.ndarray | None = None  # of the viewer's volumes, from (column, row, slice) to RAS+ mm
        self.spacing_mm = head.volume.spacing_mm if spacing else None
        self.probability = np.clip(ndimage.gaussian_filter(head.mask.astype(np.float32), (0, 1.5, 1.5)), 0, 1)
        self.min_voxels = min_voxels
        self.mask = select_components(2 * (self.probability >= THRESHOLD).astype(np.uint8), min_voxels)
        around = np.ones((1, 2 * oedema_px + 1, 2 * oedema_px + 1))
        self.whole = ndimage.binary_dilation(self.mask, around) if oedema_px else None

    def as_other_model_sees_it(self) -> "FakeStudy":
        """The same scan with the answer of another model: the smallest lesion is missed, the others are larger."""
        other = copy(self)
        smallest = lesions.measure(self.mask, self.spacing_mm, self.probability)[-1].box
        probability = self.probability.copy()
        (_, top, left), (_, bottom, right) = smallest.first, smallest.stop
        probability[:, top - 5 : bottom + 5, left - 5 : right + 5] = 0
        other.probability = np.clip(1.4 * probability, 0, 1)
        other.mask = other.probability >= THRESHOLD
        return other

    def preview(self, done: int) -> bytes:
        """The preview that a worker stores when `done` slices are finished."""
        draws: list[Callable[[], bytes]] = []
        seconds, point = iter([0.0] * done + [INTERVAL_S] * 2), OperatingPoint(threshold=THRESHOLD)
        previews = Previews(Volume(self.pixels, self.names), "whole", point, draws.append, lambda: next(seconds))
        for index in range(done):
            previews(index, self.probability[index])
        return draws[0]()

    def result(self, job_id: str, card: ModelCard) -> Result:
        found = lesions.measure(self.mask, self.spacing_mm, self.probability)
        sum_px, sum_mm = lesions.sum_target_diameters(found)
        return Result(
            job_id=job_id,
            target_diameter_sum_px=sum_px,
            target_diameter_sum_mm=sum_mm,
            model_version=card.version,
            network=card.network,
            structure="core",
            structures=measured_structures(self.mask, THRESHOLD, self.min_voxels, whole=self.whole),
            shape=self.mask.shape,
            spacing_mm=self.spacing_mm,
            lesions=found,
            slices=lesions.measure_slices(self.mask, found, self.names, self.spacing_mm, self.probability),
            warnings=[],
            durations_s={"read": 0.1, "predict": 0.8, "report": 0.1},
        )

    def placed(self, content: bytes) -> bytes:
        """A layer for viewers, in the orientation of `affine`."""
        if self.affine is None:
            return content
        image = nibabel.Nifti1Image.from_bytes(gzip.decompress(content))
        return gzip.compress(nibabel.Nifti1Image(np.asarray(image.dataobj), self.affine).to_bytes())

    def reviewed(self, job_id: str, card: ModelCard, review: Review, stamp: ReviewStamp) -> ReviewedAnswer:
        """The answer after a review."""
        whole = self.mask if self.whole is None else self.whole
        levels = StoredProbability(np.round(self.probability * 65535).astype(np.uint16))
        masks, probabilities = {"core": self.mask, "whole": whole}, {"core": levels, "whole": levels}
        return apply_review(ModelAnswer(self.result(job_id, card), masks, probabilities, None), review, stamp)
