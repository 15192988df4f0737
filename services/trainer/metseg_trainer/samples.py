"""From patients to what the training loop draws: prepared studies, samples and their order."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from metseg.contracts import Preprocessing
from metseg.preprocess import ModelInput, standardise, to_input, truth_to_input
from metseg.volume import Volume
from metseg_trainer.augment import Augmentation, drop_sequences
from metseg_trainer.recipe import Recipe

ONLY_FLAIR, NO_PRE_CONTRAST, NO_POST_CONTRAST = (0, 2), (0,), (2,)
_DROPS: tuple[tuple[int, ...], ...] = (ONLY_FLAIR, NO_PRE_CONTRAST, NO_POST_CONTRAST)
_DROP_SHARES = (0.15, 0.1, 0.05)

Pixels = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Study:
    """A patient, prepared once: model input and truth in model pixels (uint8, 255 where all is lesion)."""

    patient: str
    prepared: ModelInput
    truth: Pixels


def prepare(patient: str, volume: Volume, mask: Mask, preprocessing: Preprocessing) -> Study:
    """Prepare a patient, or one slice of it, as serving would."""
    prepared = to_input(volume, preprocessing)
    share = truth_to_input(mask, prepared.geometry)
    return Study(patient, prepared, np.rint(share * 255).astype(np.uint8))


def prepare_lone(patient: str, volume: Volume, mask: Mask, preprocessing: Preprocessing) -> list[Study]:
    """Prepare each slice of a patient as if it had been uploaded alone; constant slices stay out."""
    return [
        prepare(patient, lone, mask[index : index + 1], preprocessing)
        for index, lone in enumerate(volume.lone_slices())
        if lone is not None
    ]


@dataclass(frozen=True, eq=False)
class _Place:
    """One slice that can be drawn."""

    study: Study
    index: int


class Samples(Dataset[tuple[Tensor, Tensor]]):
    """Augmented slices, lesion slices as often as others, a share of them prepared as lone slices.

    Item n is a function of n and the recipe's seed alone, so that a resumed run draws what the broken one would have.
    An item is float32 (3, row, column) and float32 (1, row, column) of the recipe's patch.
    """

    def __init__(self, studies: Sequence[Study], lone: Sequence[Study], recipe: Recipe) -> None:
        self._pools = [_by_lesion(studies), _by_lesion(lone)]
        self._recipe = recipe
        self._augment = Augmentation(recipe.patch)

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        """The sample of that number, of any size: epochs follow one another."""
        random = np.random.default_rng((self._recipe.seed, number))
        without, having = self._pools[int(random.random() < self._recipe.lone)]
        wants_lesion = random.random() < 0.5
        pool = having if having and (wants_lesion or not without) else without
        place = pool[random.integers(len(pool))]
        prepared = place.study.prepared
        pixels, mean, deviation = prepared.pixels[place.index], prepared.mean, prepared.deviation
        if (drop := random.choice(len(_DROPS) + 1, p=(*_DROP_SHARES, 1 - sum(_DROP_SHARES)))) < len(_DROPS):
            pixels = drop_sequences(pixels, _DROPS[drop])
            mean, deviation = drop_sequences(mean, _DROPS[drop]), drop_sequences(deviation, _DROPS[drop])
        pixels, truth = self._augment(pixels, place.study.truth[place.index], int(random.integers(2**31)))
        tensor = standardise(pixels, mean, deviation).astype(np.float32).transpose(2, 0, 1)
        return torch.from_numpy(np.ascontiguousarray(tensor)), torch.from_numpy(truth[None].astype(np.float32) / 255)


def _by_lesion(studies: Sequence[Study]) -> tuple[list[_Place], list[_Place]]:
    """Slices without and with a lesion."""
    places = [_Place(study, index) for study in studies for index in range(len(study.truth))]
    having = [place for place in places if place.study.truth[place.index].max() >= 128]
    without = [place for place in places if place.study.truth[place.index].max() < 128]
    return without, having


class EpochSampler(Sampler[int]):
    """Sample numbers of the current epoch; each of several processes takes its share."""

    def __init__(self, samples: int) -> None:
        self._samples = samples
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by the training loop before each epoch, after a resume too."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[int]:
        """The numbers, in order: they are random draws already."""
        first = self._epoch * self._samples
        yield from range(first + _rank(), first + len(self) * _world(), _world())

    def __len__(self) -> int:
        """Samples of this process in an epoch."""
        return self._samples // _world()


def _rank() -> int:
    return torch.distributed.get_rank() if torch.distributed.is_initialized() else 0


def _world() -> int:
    return torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1
