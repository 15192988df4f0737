"""From patients to what the training loop draws: prepared studies, samples and their order."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from metseg.contracts import Preprocessing
from metseg.imaging import ModelInput, Preprocessor, Volume, standardise
from metseg_trainer.data.augment import LESION, Augmentation, drop_sequences, transplant
from metseg_trainer.training.config import Recipe, Source

ONLY_FLAIR, NO_PRE_CONTRAST, NO_POST_CONTRAST = (0, 2), (0,), (2,)
_DROPS: tuple[tuple[int, ...], ...] = (ONLY_FLAIR, NO_PRE_CONTRAST, NO_POST_CONTRAST)
_DROP_SHARES = (0.15, 0.1, 0.05)

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Study:
    """A patient, prepared once: model input and truth in model pixels (uint8, 255 where all is lesion)."""

    patient: str
    prepared: ModelInput
    truth: Pixels

    def part(self, slices: npt.NDArray[np.bool_]) -> "Study":
        """Some of the slices, as they were prepared among all.

        Args:
            slices: bool, (slice): which ones.
        """
        prepared, geometry = self.prepared, self.prepared.geometry
        kept = replace(
            prepared,
            pixels=prepared.pixels[slices],
            occupied=prepared.occupied[slices],
            geometry=replace(geometry, shape=(int(slices.sum()), *geometry.shape[1:])),
        )
        return Study(self.patient, kept, self.truth[slices])


def prepare(patient: str, volume: Volume, mask: Mask, preprocessing: Preprocessing) -> Study:
    """Prepare a patient, or one slice of it, as serving would."""
    prepared = Preprocessor(preprocessing).prepare(volume)
    share = Preprocessor.prepare_truth(mask, prepared.geometry)
    return Study(patient, prepared, np.rint(share * 255).astype(np.uint8))


def prepare_lone(patient: str, volume: Volume, mask: Mask, preprocessing: Preprocessing) -> list[Study]:
    """Prepare each slice of a patient as if it had been uploaded alone; constant slices stay out."""
    return [
        prepare(patient, lone, mask[index : index + 1], preprocessing)
        for index, lone in enumerate(volume.single_slices())
        if lone is not None
    ]


@dataclass(frozen=True, eq=False)
class _Place:
    """One slice that can be drawn."""

    study: Study
    index: int


@dataclass(frozen=True, eq=False)
class _Sample:
    """A slice on its way into a batch: pixels (row, column, channel), truth (row, column), figures of its study."""

    pixels: Pixels
    truth: Pixels
    mean: Floats
    deviation: Floats


class Samples(Dataset[tuple[Tensor, Tensor]]):
    """Augmented slices from several sources.

    Item n is a function of n and the recipe's seed alone, so that a resumed run draws what the broken one would have.
    An item is float32 (3, row, column) and float32 (1, row, column) of the recipe's patch.

    Args:
        sources: studies by source; the recipe's shares tell how often each is drawn from.
        recipe: how.
    """

    def __init__(self, sources: Mapping[Source, Sequence[Study]], recipe: Recipe) -> None:
        self._pools = [_by_lesion(sources[source]) for source in recipe.shares if sources.get(source)]
        shares = np.array([share for source, share in recipe.shares.items() if sources.get(source)])
        self._shares = shares / shares.sum()
        self._recipe = recipe
        self._augment = Augmentation(recipe.patch)

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        """The sample of that number, of any size: epochs follow one another."""
        random = np.random.default_rng((self._recipe.seed, number))
        place, donors = self._place(random)
        sample = _read(place)
        if donors and sample.truth.max() < LESION and random.random() < self._recipe.transplant:
            sample = _transplanted(sample, _read(donors[random.integers(len(donors))]), random)
        if (drop := random.choice(len(_DROPS) + 1, p=(*_DROP_SHARES, 1 - sum(_DROP_SHARES)))) < len(_DROPS):
            sample = _without(sample, _DROPS[drop])
        pixels, truth = self._augment(sample.pixels, sample.truth, int(random.integers(2**31)))
        tensor = standardise(pixels, sample.mean, sample.deviation).astype(np.float32).transpose(2, 0, 1)
        return torch.from_numpy(np.ascontiguousarray(tensor)), torch.from_numpy(truth[None].astype(np.float32) / 255)

    def patient(self, number: int) -> str:
        """Whose slice the sample of that number is."""
        return self._place(np.random.default_rng((self._recipe.seed, number)))[0].study.patient

    def _place(self, random: np.random.Generator) -> tuple[_Place, list[_Place]]:
        """A slice, and the slices with a lesion of its source."""
        without, having = self._pools[random.choice(len(self._pools), p=self._shares)]
        wants_lesion = random.random() < self._recipe.lesion_share
        pool = having if having and (wants_lesion or not without) else without
        return pool[random.integers(len(pool))], having


def _read(place: _Place) -> _Sample:
    prepared = place.study.prepared
    return _Sample(
        prepared.pixels[place.index], place.study.truth[place.index], prepared.mean, prepared.deviation
    )  # fmt: skip


def _transplanted(sample: _Sample, donor: _Sample, random: np.random.Generator) -> _Sample:
    """The sample with the donor's lesion, as bright in it as the donor's was in its own study."""
    alike = standardise(donor.pixels, donor.mean, donor.deviation) * sample.deviation + sample.mean
    pixels, truth = transplant(sample.pixels, sample.truth, alike.astype(np.float32), donor.truth, random)
    return replace(sample, pixels=pixels, truth=truth)


def _without(sample: _Sample, dropped: tuple[int, ...]) -> _Sample:
    return replace(
        sample,
        pixels=drop_sequences(sample.pixels, dropped),
        mean=drop_sequences(sample.mean, dropped),
        deviation=drop_sequences(sample.deviation, dropped),
    )


def _by_lesion(studies: Sequence[Study]) -> tuple[list[_Place], list[_Place]]:
    """Slices without and with a lesion."""
    places = [_Place(study, index) for study in studies for index in range(len(study.truth))]
    having = [place for place in places if place.study.truth[place.index].max() >= LESION]
    without = [place for place in places if place.study.truth[place.index].max() < LESION]
    return without, having


class Batches(Sampler[list[int]]):
    """The sample numbers of each step; they are random draws already, so they are taken in order.

    Args:
        steps: which ones.
        batch: samples in a step.
        rank: which of several processes takes its share of each step.
        processes: how many there are.
    """

    def __init__(self, steps: range, batch: int, rank: int = 0, processes: int = 1) -> None:
        self._steps, self._batch, self._rank, self._processes = steps, batch, rank, processes

    def __iter__(self) -> Iterator[list[int]]:
        """Step by step."""
        for step in self._steps:
            yield list(range(step * self._batch + self._rank, (step + 1) * self._batch, self._processes))

    def __len__(self) -> int:
        """How many steps there are."""
        return len(self._steps)
