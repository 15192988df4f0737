"""Model versions and the champion, the version that serves.

A version is the folder `models/{version}/` of the store and never changes. Its card is written last, so that a version
exists only when it is complete. `models/champion.json` points to the version that serves, with its checksum.
"""

import hashlib
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from metseg.contracts import Champion, ModelCard, is_model_version
from metseg.errors import Conflict, ModelRejected, NotFound
from metseg.storage import ObjectStore

__all__ = [
    "CARD",
    "CHAMPION",
    "CHECKPOINT",
    "FULL_PRECISION_MODEL",
    "MODEL",
    "MODELS",
    "REPORT",
    "Registry",
    "read_card",
]

MODEL, FULL_PRECISION_MODEL = "model.onnx", "model-fp32.onnx"
CARD, REPORT = "card.json", "report.html"
CHECKPOINT = "last.ckpt"
"""The weights of the network of the core, for a training to start from; only some versions have it."""
MODELS = "models/"
"""What the keys of all models begin with."""
CHAMPION = f"{MODELS}champion.json"

log = logging.getLogger(__name__)


class Registry:
    """The models in a store."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._intact: dict[str, list[str]] = {}  # etags of a version's models when they were verified

    def publish(self, card: ModelCard, files: Mapping[str, bytes]) -> None:
        """Add a version.

        Args:
            card: of the version.
            files: by name, among them `model.onnx`, and `model-fp32.onnx` if the card has it.

        Raises:
            ModelRejected: a model is missing, or does not match the card's checksum.
            Conflict: the version exists.
        """
        if not is_model_version(card.version):
            raise ValueError(f"not a version: {card.version!r}")
        for name, sha256 in _models(card).items():
            if hashlib.sha256(files.get(name, b"")).hexdigest() != sha256:
                raise ModelRejected(f"{name} of version {card.version} does not match its card's checksum.")
        if self._exists(card.version):
            raise Conflict(f"Version {card.version} exists already; versions never change.")
        for name, content in files.items():
            if name != CARD:
                self._store.put(_key(card.version, name), content)
        self._store.put(_key(card.version, CARD), card.model_dump_json(indent=2).encode())

    def versions(self) -> list[ModelCard]:
        """The cards of all versions, newest first; cards that this release cannot read are logged and left out."""
        cards = []
        for info in self._store.list(MODELS):
            if info.key.endswith(f"/{CARD}"):
                try:
                    cards.append(self.card(info.key.split("/")[1]))
                except ModelRejected as error:
                    log.warning("%s", error.detail)
        return sorted(cards, key=lambda card: (card.created_at, card.version), reverse=True)

    def card(self, version: str) -> ModelCard:
        """The card of a version.

        Raises:
            NotFound: there is no such version.
            ModelRejected: this release cannot read its card.
        """
        try:
            return ModelCard.model_validate_json(self.file(version, CARD))
        except ValidationError as error:
            raise ModelRejected(f"The card of version {version} cannot be read by this release.") from error

    def champion(self) -> Champion | None:
        """The pointer to the version that serves; None before the first promotion."""
        try:
            return Champion.model_validate_json(self._store.get(CHAMPION))
        except NotFound:
            return None
        except ValidationError as error:
            raise ModelRejected("The champion's pointer cannot be read by this release.") from error

    def promote(self, version: str) -> Champion:
        """Put a version into service, at once and for all workers.

        Raises:
            NotFound: there is no such version.
            ModelRejected: a model of it is missing or does not match its checksum.
        """
        card = self._verify(version)
        champion = Champion(
            version=version, sha256=card.sha256, promoted_at=datetime.now(UTC), previous=self._previous(version)
        )
        self._store.put(CHAMPION, champion.model_dump_json(indent=2).encode(), content_type="application/json")
        return champion

    def _previous(self, version: str) -> str | None:
        """The version that serves until this one is promoted."""
        try:
            champion = self.champion()
        except ModelRejected:
            return None
        return None if champion is None else champion.previous if champion.version == version else champion.version

    def is_servable(self, champion: Champion) -> bool:
        """Whether the champion or the version before it is undamaged; a model is read again only if it changes."""
        return any(self._is_intact(version) for version in (champion.version, champion.previous) if version)

    def _is_intact(self, version: str) -> bool:
        try:
            etags = [info.etag for info in self._store.list(f"{MODELS}{version}/") if info.key.endswith(".onnx")]
            if self._intact.get(version) != etags:
                self._verify(version)
                self._intact[version] = etags
        except (NotFound, ModelRejected):
            return False
        return True

    def _verify(self, version: str) -> ModelCard:
        """The card of a version, after verifying the checksum of each of its models; NotFound, ModelRejected."""
        card, _ = self.load(version)
        if card.full_precision is not None:
            self.full_precision_model(card)
        return card

    def load(self, version: str) -> tuple[ModelCard, bytes]:
        """A version's card and its model, after verifying its checksum.

        Raises:
            NotFound: there is no such version.
            ModelRejected: its model is missing or does not match its checksum.
        """
        card = self.card(version)
        return card, self._model(card, MODEL)

    def full_precision_model(self, card: ModelCard) -> bytes:
        """The 32-bit model of a version whose main model has 8 bits, after verifying its checksum.

        Raises:
            ModelRejected: it is missing or does not match its checksum.
        """
        return self._model(card, FULL_PRECISION_MODEL)

    def _model(self, card: ModelCard, name: str) -> bytes:
        try:
            model = self.file(card.version, name)
        except NotFound as error:
            raise ModelRejected(f"Version {card.version} has lost its {name}.") from error
        if hashlib.sha256(model).hexdigest() != _models(card)[name]:
            raise ModelRejected(f"{name} of version {card.version} does not match its checksum.")
        return model

    def file(self, version: str, name: str) -> bytes:
        """One file of a version.

        Args:
            version: of the model.
            name: as `report.html`.

        Returns:
            Its content.

        Raises:
            NotFound: there is no such version, or it has no such file.
        """
        try:
            return self._store.get(_key(version, name))
        except (NotFound, ValueError) as error:
            raise NotFound(f"There is no {name} of a model version {version}.") from error

    def _exists(self, version: str) -> bool:
        try:
            self._store.stat(_key(version, CARD))
        except NotFound:
            return False
        return True


def read_card(folder: Path) -> ModelCard:
    """The card of the model in a folder.

    Raises:
        NotFound: the folder holds no card.
        ModelRejected: this release cannot read it.
    """
    try:
        return ModelCard.model_validate_json((folder / CARD).read_bytes())
    except OSError as error:
        raise NotFound(f"{folder} holds no {CARD}.") from error
    except ValidationError as error:
        raise ModelRejected(f"The {CARD} in {folder} cannot be read by this release.") from error


def _models(card: ModelCard) -> dict[str, str]:
    """The checksum of each of a version's models."""
    return {MODEL: card.sha256} | ({FULL_PRECISION_MODEL: card.full_precision.sha256} if card.full_precision else {})


def _key(version: str, name: str) -> str:
    """The key of a version's file; ValueError where the version has not the form of one."""
    if not is_model_version(version):
        raise ValueError(f"not a version: {version!r}")
    return f"{MODELS}{version}/{name}"
