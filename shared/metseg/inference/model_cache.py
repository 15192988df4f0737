"""The models of one process: loaded once, checked, replaced when the registry names another champion."""

import logging
import time
from collections import OrderedDict

import numpy as np

from metseg.contracts import Champion, ModelCard
from metseg.errors import MetsegError, ModelRejected, NoChampion, NotFound
from metseg.imaging import REFERENCE_PX
from metseg.inference.predictor import OnnxPredictor
from metseg.registry import Registry

__all__ = ["ModelCache"]

TIMING_ROUNDS = 15
MAX_SLOWDOWN = 1.1
"""The 8-bit model is refused if it takes more than so many times as long. Where both are about as fast, every worker
takes it, so that one input has one result."""

log = logging.getLogger(__name__)


class ModelCache:
    """The loaded model versions of this process.

    Attributes:
        threads: that a study may use.

    Args:
        registry: holds the versions and the champion pointer.
        threads: the same.
        capacity: how many versions to keep in addition to the champion.
    """

    def __init__(self, registry: Registry, threads: int, capacity: int = 2) -> None:
        self._registry = registry
        self.threads = threads
        self._capacity = capacity
        self._versions: OrderedDict[str, OnnxPredictor] = OrderedDict()
        self._champion: OnnxPredictor | None = None
        self._pointer: Champion | None = None
        self._warnings: tuple[str, ...] = ()

    def get(self, version: str | None) -> tuple[OnnxPredictor, tuple[str, ...]]:
        """The version that a job asked for, or else the champion; raises as `version` and `champion`."""
        return self.champion() if version is None else (self.version(version), ())

    def champion(self) -> tuple[OnnxPredictor, tuple[str, ...]]:
        """The current champion, and warnings for the reader of a result.

        A champion that cannot be trusted is not served: the previous one is, with a warning.

        Raises:
            NoChampion: nothing has been promoted.
            ModelRejected: neither the champion nor the previous one can be trusted.
        """
        pointer = self._read_pointer()
        if pointer is None:
            raise NoChampion("No model is in service yet; train one, or promote a version of the registry.")
        if self._champion is None or pointer != self._pointer:
            self._champion, self._warnings = self._load_champion(pointer)
            self._pointer = pointer
        return self._champion, self._warnings

    def version(self, version: str) -> OnnxPredictor:
        """The version that a job asked for by name.

        Raises:
            NotFound: there is no such version.
            ModelRejected: its bytes or its contract cannot be trusted.
        """
        if self._champion is not None and self._champion.card.version == version:
            return self._champion
        if version not in self._versions:
            self._versions[version] = self._load(version)
        self._versions.move_to_end(version)
        while len(self._versions) > self._capacity:
            self._versions.popitem(last=False)
        return self._versions[version]

    def other_networks(self, card: ModelCard) -> list[OnnxPredictor]:
        """The rest of an ensemble: the newest version of another network than a card's, or none that can be served."""
        for other in self._registry.versions():
            if other.network != card.network:
                try:
                    return [self.version(other.version)]
                except (ModelRejected, NotFound) as error:
                    log.warning(
                        "model left out of the ensemble", extra={"model": other.version, "reason": error.detail}
                    )
        return []

    def _read_pointer(self) -> Champion | None:
        """The registry's champion pointer; the last one if it has become unreadable."""
        try:
            return self._registry.champion()
        except ModelRejected as error:
            if self._pointer is None:
                raise
            log.error("champion pointer rejected", extra={"reason": error.detail})
            return self._pointer

    def _load_champion(self, pointer: Champion) -> tuple[OnnxPredictor, tuple[str, ...]]:
        """Load the new champion, or say why the previous one stays."""
        try:
            predictor = self._versions.pop(pointer.version, None) or self._load(pointer.version)
            if predictor.card.sha256 != pointer.sha256:
                raise ModelRejected(f"Model {pointer.version} is not the one that was promoted; promote it again.")
        except (ModelRejected, NotFound) as error:
            log.error("champion rejected", extra={"model": pointer.version, "reason": error.detail})
            previous = self._champion or self._load_previous(pointer, error)
            warning = f"The champion {pointer.version} was rejected; {previous.card.version} segmented instead."
            return previous, (warning,)
        log.info("champion in service", extra={"model": pointer.version})
        return predictor, ()

    def _load_previous(self, pointer: Champion, error: MetsegError) -> OnnxPredictor:
        """The champion before a rejected one, for a process that has served neither; ModelRejected."""
        try:
            if pointer.previous is not None:
                return self._load(pointer.previous)
        except (ModelRejected, NotFound) as other:
            log.error("the champion before rejected", extra={"model": pointer.previous, "reason": other.detail})
        raise ModelRejected(
            f"The champion {pointer.version} cannot be served, promote another: {error.detail}"
        ) from error

    def _load(self, version: str) -> OnnxPredictor:
        card, model = self._registry.load(version)
        predictor = OnnxPredictor(card, model, self.threads)
        if card.full_precision is None:
            return predictor
        return _select_precision(
            predictor, OnnxPredictor(card.in_full_precision(), self._registry.full_precision_model(card), self.threads)
        )


def _select_precision(int8: OnnxPredictor, fp32: OnnxPredictor) -> OnnxPredictor:
    """The 8-bit model, unless this processor runs it clearly slower than the same network in 32 bits."""
    int8_ms, fp32_ms = _ms_per_slice(int8, fp32)
    fields = {"model": int8.card.version, "int8_ms": round(int8_ms, 1), "fp32_ms": round(fp32_ms, 1)}
    if int8_ms > MAX_SLOWDOWN * fp32_ms:
        log.warning("8-bit model refused: this processor runs it slower than the one in 32 bits", extra=fields)
        return fp32
    log.info("8-bit model taken", extra=fields)
    return int8


def _ms_per_slice(*predictors: OnnxPredictor) -> list[float]:
    """The shortest of several alternating rounds, so that load on the machine does not count."""
    side = round(REFERENCE_PX * predictors[0].preprocessing.pixel_scale)
    slices = np.random.default_rng(0).standard_normal((1, side, side, 3)).astype(np.float32)
    times: list[list[float]] = [[] for _ in predictors]
    for _ in range(TIMING_ROUNDS):
        for predictor, durations_ms in zip(predictors, times, strict=True):
            start = time.perf_counter()
            predictor(slices)
            durations_ms.append(1000 * (time.perf_counter() - start))
    return [min(durations_ms) for durations_ms in times]
