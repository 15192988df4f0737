"""The models of one process: loaded once, checked, exchanged when the registry names another champion."""

import logging
import time
from collections import OrderedDict

import numpy as np

from metseg.contracts import Champion, ModelCard
from metseg.errors import ModelRejected, NoChampion, NotFound
from metseg.imaging import REFERENCE_PX
from metseg.inference.predictor import OnnxPredictor
from metseg.registry import Registry

__all__ = ["Models"]

ROUNDS = 15
CLEARLY = 1.1
"""How many times as long the 8-bit model has to take to be refused: where both are as fast, every worker takes it, so
that one input has one result."""

log = logging.getLogger(__name__)


class Models:
    """What this process can segment with.

    Attributes:
        threads: that a study may use.

    Args:
        registry: where versions and the champion pointer lie.
        threads: the same.
        kept: loaded versions to keep beside the champion.
    """

    def __init__(self, registry: Registry, threads: int, kept: int = 2) -> None:
        self._registry = registry
        self.threads = threads
        self._kept = kept
        self._named: OrderedDict[str, OnnxPredictor] = OrderedDict()
        self._serving: OnnxPredictor | None = None
        self._seen: Champion | None = None
        self._warnings: tuple[str, ...] = ()

    def chosen(self, version: str | None) -> tuple[OnnxPredictor, tuple[str, ...]]:
        """The version that a job asked for, or else the champion; as `version` and `champion`."""
        return self.champion() if version is None else (self.version(version), ())

    def champion(self) -> tuple[OnnxPredictor, tuple[str, ...]]:
        """The champion of this moment, and what the reader of a result must know of the choice.

        A new champion that cannot be trusted is not served: the former one stays, with a warning.

        Raises:
            NoChampion: nothing has been promoted.
            ModelRejected: the champion cannot be trusted and there is no former one.
        """
        pointer = self._pointer()
        if pointer is None:
            raise NoChampion("No model is in service yet; train one, or promote a version of the registry.")
        if self._serving is None or pointer != self._seen:
            self._serving, self._warnings = self._follow(pointer)
            self._seen = pointer
        return self._serving, self._warnings

    def version(self, version: str) -> OnnxPredictor:
        """The version that a job asked for by name.

        Raises:
            NotFound: there is no such version.
            ModelRejected: its bytes or its contract cannot be trusted.
        """
        if version not in self._named:
            self._named[version] = self._load(version)
        self._named.move_to_end(version)
        while len(self._named) > self._kept:
            self._named.popitem(last=False)
        return self._named[version]

    def others(self, card: ModelCard) -> list[OnnxPredictor]:
        """The newest version of a network other than a card's, to be asked beside it; none where none can be served."""
        for other in self._registry.versions():
            if other.network != card.network:
                try:
                    return [self.version(other.version)]
                except (ModelRejected, NotFound) as error:
                    log.warning("model not asked", extra={"model": other.version, "reason": error.detail})
        return []

    def _pointer(self) -> Champion | None:
        """Where the registry points; where it did, if that cannot be read any more."""
        try:
            return self._registry.champion()
        except ModelRejected as error:
            if self._seen is None:
                raise
            log.error("champion pointer rejected", extra={"reason": error.detail})
            return self._seen

    def _follow(self, pointer: Champion) -> tuple[OnnxPredictor, tuple[str, ...]]:
        """Load the new champion, or say why the former one stays."""
        try:
            predictor = self._load(pointer.version)
            if predictor.card.sha256 != pointer.sha256:
                raise ModelRejected(f"Model {pointer.version} is not the one that was promoted; promote it again.")
        except (ModelRejected, NotFound) as error:
            log.error("champion rejected", extra={"model": pointer.version, "reason": error.detail})
            if self._serving is None:
                raise ModelRejected(f"The champion {pointer.version} cannot be served: {error.detail}") from error
            former = self._serving.card.version
            return self._serving, (f"The champion {pointer.version} was rejected; {former} segmented instead.",)
        log.info("champion in service", extra={"model": pointer.version})
        return predictor, ()

    def _load(self, version: str) -> OnnxPredictor:
        card, model = self._registry.load(version)
        predictor = OnnxPredictor(card, model, self.threads)
        if card.full_precision is None:
            return predictor
        return _faster(predictor, OnnxPredictor(card.in_full_precision(), self._registry.full(card), self.threads))


def _faster(narrow: OnnxPredictor, wide: OnnxPredictor) -> OnnxPredictor:
    """The 8-bit model, unless this processor runs it clearly slower than the same network in 32 bits."""
    narrow_ms, wide_ms = _ms_a_slice(narrow, wide)
    told = {"model": narrow.card.version, "int8_ms": round(narrow_ms, 1), "fp32_ms": round(wide_ms, 1)}
    if narrow_ms > CLEARLY * wide_ms:
        log.warning("8-bit model refused: this processor runs it slower than the one in 32 bits", extra=told)
        return wide
    log.info("8-bit model taken", extra=told)
    return narrow


def _ms_a_slice(*predictors: OnnxPredictor) -> list[float]:
    """The shortest of many, taken in turn: what a busy machine adds is no matter of the model."""
    side = round(REFERENCE_PX * predictors[0].preprocessing.pixel_scale)
    slices = np.random.default_rng(0).standard_normal((1, side, side, 3)).astype(np.float32)
    times: list[list[float]] = [[] for _ in predictors]
    for _ in range(ROUNDS):
        for predictor, taken in zip(predictors, times, strict=True):
            began = time.perf_counter()
            predictor(slices)
            taken.append(1000 * (time.perf_counter() - began))
    return [min(taken) for taken in times]
