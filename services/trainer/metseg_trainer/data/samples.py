"""From patients to the samples of the training loop: prepared studies, samples and their order."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from metseg.contracts import Preprocessing
from metseg.imaging import POST, PRE, Float32Array, Mask, ModelInput, Preprocessor, UInt8Array, Volume, standardise
from metseg_trainer.data.augment import LESION_LEVEL, Augmentation, drop_sequences, transplant_lesion
from metseg_trainer.data.config import AugmentationConfig, SamplingConfig, Source

__all__ = ["PreparedStudy", "SampleDataset", "StepBatchSampler", "prepare_single_slices", "prepare_study"]


@dataclass(frozen=True, eq=False)
class PreparedStudy:
    """A patient, prepared once: model input and truth in model pixels (uint8, 255 where all is lesion).

    `patient` is an id; `person` is who that is, since the studies of one person may have different ids.
    """

    patient: str
    prepared: ModelInput
    truth: UInt8Array
    person: str = ""

    def select(self, slices: Mask) -> "PreparedStudy":
        """Some of the slices, as they were prepared among all.

        Args:
            slices: bool, (slice): which ones.
        """
        prepared, geometry = self.prepared, self.prepared.geometry
        selected = replace(
            prepared,
            pixels=prepared.pixels[slices],
            occupied=prepared.occupied[slices],
            geometry=replace(geometry, shape=(int(slices.sum()), *geometry.shape[1:])),
        )
        return PreparedStudy(self.patient, selected, self.truth[slices], self.person)


def prepare_study(patient: str, volume: Volume, mask: Mask, preprocessing: Preprocessing) -> PreparedStudy:
    """Prepare a patient, or one slice of it, as serving would.

    Args:
        patient: id.
        volume: the study.
        mask: bool, (slice, row, column): its lesions.
        preprocessing: of the model.

    Returns:
        Input and truth in model pixels.
    """
    prepared = Preprocessor(preprocessing).prepare(volume)
    share = Preprocessor.prepare_truth(mask, prepared.geometry)
    return PreparedStudy(patient, prepared, np.rint(share * 255).astype(np.uint8))


def prepare_single_slices(
    patient: str, volume: Volume, mask: Mask, preprocessing: Preprocessing
) -> list[PreparedStudy]:
    """Prepare each slice of a patient as if it had been uploaded alone.

    Args:
        patient: id.
        volume: the study.
        mask: bool, (slice, row, column): its lesions.
        preprocessing: of the model.

    Returns:
        A study for each slice that is not constant.
    """
    return [
        prepare_study(patient, single, mask[index : index + 1], preprocessing)
        for index, single in enumerate(volume.single_slices())
        if single is not None
    ]


@dataclass(frozen=True, eq=False)
class _SliceRef:
    """One slice that can be drawn."""

    study: PreparedStudy
    index: int


@dataclass(frozen=True, eq=False)
class _Sample:
    """A slice for a batch: pixels (row, column, channel), truth (row, column), its study's statistics."""

    pixels: UInt8Array
    truth: UInt8Array
    mean: Float32Array
    deviation: Float32Array


class SampleDataset(Dataset[tuple[Tensor, Tensor]]):
    """Augmented slices from several sources.

    Item n is a function of n and the seed alone, so that a resumed run draws the samples of the interrupted one.
    An item is float32 (3, row, column) and float32 (1, row, column) of the patch size.

    Args:
        sources: studies by source.
        sampling: how often each source is drawn from, and with which lesions and sequences.
        augmentation: how samples are changed.
        patch_size: rows and columns of a sample.
        seed: of all draws.
    """

    def __init__(
        self,
        sources: Mapping[Source, Sequence[PreparedStudy]],
        sampling: SamplingConfig,
        augmentation: AugmentationConfig,
        patch_size: tuple[int, int],
        seed: int,
    ) -> None:
        drawn = [source for source in sampling.source_shares if sources.get(source)]
        self._pools = [_Pool(sources[source]) for source in drawn]
        shares = np.array([sampling.source_shares[source] for source in drawn])
        self._shares = shares / shares.sum()
        self._sampling, self._augmentation, self._seed = sampling, augmentation, seed
        self._augment = Augmentation(patch_size, augmentation)
        drops = {
            (PRE, POST): sampling.drop_pre_and_post_p,
            (PRE,): sampling.drop_pre_p,
            (POST,): sampling.drop_post_p,
        }
        self._drops = list(drops)
        self._drop_p = (*drops.values(), 1 - sum(drops.values()))

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        """The sample of that number, however large: epochs follow one another."""
        random = np.random.default_rng((self._seed, number))
        place, pool = self._draw(random)
        sample = _load(place)
        if sample.truth.max() < LESION_LEVEL and random.random() < self._sampling.transplant_p:
            donor = pool.draw_donor(place.study, random)
            if donor is not None:
                sample = _with_transplant(sample, _load(donor), self._augmentation, random)
        if (drop := random.choice(len(self._drop_p), p=self._drop_p)) < len(self._drops):
            sample = _without_sequences(sample, self._drops[drop])
        pixels, truth = self._augment(sample.pixels, sample.truth, int(random.integers(2**31)))
        tensor = standardise(pixels, sample.mean, sample.deviation).astype(np.float32).transpose(2, 0, 1)
        return torch.from_numpy(np.ascontiguousarray(tensor)), torch.from_numpy(truth[None].astype(np.float32) / 255)

    def patient(self, number: int) -> str:
        """The patient of the sample of that number."""
        return self._draw(np.random.default_rng((self._seed, number)))[0].study.patient

    def _draw(self, random: np.random.Generator) -> tuple[_SliceRef, "_Pool"]:
        """A slice, and the pool that it is from."""
        pool = self._pools[random.choice(len(self._pools), p=self._shares)]
        wants_lesion = random.random() < self._sampling.lesion_share
        slices = pool.positive if pool.positive and (wants_lesion or not pool.negative) else pool.negative
        return slices[random.integers(len(slices))], pool


def _load(place: _SliceRef) -> _Sample:
    prepared = place.study.prepared
    return _Sample(
        prepared.pixels[place.index], place.study.truth[place.index], prepared.mean, prepared.deviation
    )  # fmt: skip


def _with_transplant(
    sample: _Sample, donor: _Sample, config: AugmentationConfig, random: np.random.Generator
) -> _Sample:
    """The sample with the donor's lesion, as bright in it as the donor's was in its own study."""
    matched = standardise(donor.pixels, donor.mean, donor.deviation) * sample.deviation + sample.mean
    pixels, truth = transplant_lesion(
        sample.pixels, sample.truth, matched.astype(np.float32), donor.truth, config=config, random=random
    )  # fmt: skip
    return replace(sample, pixels=pixels, truth=truth)


def _without_sequences(sample: _Sample, dropped: tuple[int, ...]) -> _Sample:
    return replace(
        sample,
        pixels=drop_sequences(sample.pixels, dropped),
        mean=drop_sequences(sample.mean, dropped),
        deviation=drop_sequences(sample.deviation, dropped),
    )


class _Pool:
    """The slices of a source, without and with a lesion; those with one are in the order of persons."""

    def __init__(self, studies: Sequence[PreparedStudy]) -> None:
        places = [_SliceRef(study, index) for study in studies for index in range(len(study.truth))]
        self.positive = [place for place in places if place.study.truth[place.index].max() >= LESION_LEVEL]
        self.negative = [place for place in places if place.study.truth[place.index].max() < LESION_LEVEL]
        self.positive.sort(key=lambda place: _person(place.study))
        self._persons = [_person(place.study) for place in self.positive]

    def draw_donor(self, study: PreparedStudy, random: np.random.Generator) -> _SliceRef | None:
        """A slice with a lesion of another person; None where there is none."""
        first, stop = (bisect(self._persons, _person(study)) for bisect in (bisect_left, bisect_right))
        others = len(self.positive) - (stop - first)
        if not others:
            return None
        chosen = int(random.integers(others))
        return self.positive[chosen if chosen < first else chosen + stop - first]


def _person(study: PreparedStudy) -> str:
    return study.person or study.patient


class StepBatchSampler(Sampler[list[int]]):
    """The sample numbers of each step; samples are random draws already, so they are used in order.

    Args:
        steps: which ones.
        batch_size: samples in a step, over all processes.
        rank: which of several processes takes its share of each step.
        world_size: how many processes there are.
    """

    def __init__(self, steps: range, batch_size: int, rank: int = 0, world_size: int = 1) -> None:
        self._steps, self._batch_size, self._rank, self._world_size = steps, batch_size, rank, world_size

    def __iter__(self) -> Iterator[list[int]]:
        """Step by step."""
        for step in self._steps:
            first = step * self._batch_size
            yield list(range(first + self._rank, first + self._batch_size, self._world_size))

    def __len__(self) -> int:
        """How many steps there are."""
        return len(self._steps)
