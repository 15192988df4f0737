"""The pipeline in this process, without a server: the worker's own code on a model in a folder."""

import hashlib
import io
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

from metseg.atomic_io import atomic_write
from metseg.cli.engine import Finished, Tell
from metseg.cli.exits import Usage
from metseg.cli.record import Record
from metseg.client import Attachment
from metseg.contracts import Champion, InputFile, ModelCard, Request, Result
from metseg.errors import NotFound
from metseg.inference import ModelCache
from metseg.jobs import JobInputs, new_job_id, process
from metseg.parallel import cpu_quota
from metseg.registry import CARD, Registry
from metseg.results import SLICE_ARCHIVE, SliceArchive
from metseg.results.exports import Export, FinishedJob
from metseg.settings import Limits
from metseg.storage import LocalFolderStore

__all__ = ["Local", "registry"]


class Local:
    """Segments in this process, one study after the other, each on all processors that it may use.

    Args:
        folder: of a model, or a store's.
    """

    parallel = 1

    def __init__(self, folder: Path) -> None:
        self._registry = registry(folder)
        self._models = ModelCache(self._registry, cpu_quota())

    def run(self, attachments: Sequence[Attachment], record: Record, keep: Callable[[], None], tell: Tell) -> Finished:
        """As of Engine."""
        with TemporaryDirectory(prefix="metseg-") as scratch:
            request = _request(attachments, record, Path(scratch))
            with JobInputs.fetch(request, LocalFolderStore(Path(scratch)), self._models) as inputs:
                result, artefacts = process(request, inputs, Limits(), lambda done, total: tell(done / total))
        job = _FinishedLocally(result, artefacts, self._registry.card(result.model_version), datetime.now(UTC))

        def save(export: Export, target: Path) -> None:
            content = export.make(job)
            with atomic_write(target) as file:
                file.write(content)

        return Finished(result, save)


class _FinishedLocally(FinishedJob):
    """What has just been computed."""

    def __init__(self, result: Result, artefacts: Mapping[str, bytes], card: ModelCard, finished_at: datetime) -> None:
        self._result, self._artefacts, self._card, self._finished_at = result, artefacts, card, finished_at

    def result(self) -> Result:
        """See FinishedJob."""
        return self._result

    def model_card(self) -> ModelCard:
        """See FinishedJob."""
        return self._card

    def finished_at(self) -> datetime:
        """See FinishedJob."""
        return self._finished_at

    def artefact(self, name: str) -> bytes:
        """See FinishedJob."""
        if name not in self._artefacts:
            raise NotFound(f"This study has no {name}.")
        return self._artefacts[name]

    def slice_png(self, index: int) -> bytes:
        """See FinishedJob."""
        return self._slices.read_slice(index)

    @cached_property
    def _slices(self) -> SliceArchive:
        return SliceArchive(io.BytesIO(self._artefacts[SLICE_ARCHIVE]))


def _request(attachments: Sequence[Attachment], record: Record, root: Path) -> Request:
    """The study as the gateway would have accepted it; its files lie where they are."""
    job_id, inputs = new_job_id(), []
    folder = root / "jobs" / job_id / "input"
    folder.mkdir(parents=True)
    for index, (name, content, role) in enumerate(attachments):
        assert isinstance(content, Path)  # noqa: S101 -- studies are found as files
        link = folder / f"{index:04d}"
        link.symlink_to(content.absolute())
        with content.open("rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
        key, size = link.relative_to(root).as_posix(), content.stat().st_size
        inputs.append(InputFile(key=key, name=name, size_bytes=size, sha256=sha256, role=role))
    return Request(
        id=job_id,
        created_at=datetime.now(UTC),
        inputs=inputs,
        threshold=record.threshold,
        model=record.model,
        align=record.align,
        uncertainty=record.uncertainty,
    )


def registry(folder: Path) -> Registry:
    """The models in a folder: one model with its card, or the store of a deployment or a training.

    Raises:
        Usage: it is neither.
    """
    if (folder / CARD).is_file():
        return Registry(_OneModel(folder))
    if (folder / "models").is_dir():
        return Registry(LocalFolderStore(folder))
    raise Usage(f"{folder} holds no model: name a folder with model.onnx and card.json, or a store's, by --model-dir.")


class _OneModel(LocalFolderStore):
    """A folder with one model, as if it lay in a store and served."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        card = ModelCard.model_validate_json(super().get(CARD))
        self._prefix = f"models/{card.version}/"
        self._champion = Champion(version=card.version, sha256=card.sha256, promoted_at=card.created_at)

    def get(self, key: str) -> bytes:
        """The whole object; NotFound."""
        if key == "models/champion.json":
            return self._champion.model_dump_json().encode()
        if not key.startswith(self._prefix):
            raise NotFound(f"There is no object {key}.")
        return super().get(key.removeprefix(self._prefix))
