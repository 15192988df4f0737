"""The pipeline in this process, without a server: the worker's code with a model from a folder."""

import hashlib
import io
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO

from typing_extensions import override

from metseg.atomic_io import atomic_write
from metseg.cli.backend import Backend, OnProgress, Segmented
from metseg.cli.exit_codes import UsageError
from metseg.cli.run_state import RunState
from metseg.client import Attachment
from metseg.contracts import Champion, InputFile, ModelCard, Request, Result
from metseg.errors import ModelRejected, NotFound
from metseg.inference import ModelCache
from metseg.jobs import JobInputs, new_job_id, process
from metseg.parallel import cpu_quota
from metseg.registry import CARD, CHAMPION, MODELS, Registry, read_card
from metseg.results import SLICE_ARCHIVE, SliceArchive
from metseg.results.exports import Export, FinishedJob
from metseg.settings import Limits
from metseg.storage import LocalFolderStore

__all__ = ["LocalBackend", "open_registry"]


class LocalBackend(Backend):
    """Segments in this process, one study after the other, each on all available processors.

    Args:
        folder: of a model, or of a store with models.
    """

    max_concurrency = 1

    def __init__(self, folder: Path) -> None:
        self._registry = open_registry(folder)
        self._models = ModelCache(self._registry, cpu_quota())

    @override
    def segment(
        self,
        attachments: Sequence[Attachment],
        state: RunState,
        save_state: Callable[[], None],
        on_progress: OnProgress,
    ) -> Segmented:
        """Segment one study; see Backend. `save_state` is not called, since nothing is left to resume."""
        with TemporaryDirectory(prefix="metseg-") as scratch:
            request = _request(attachments, state, Path(scratch))
            with JobInputs.fetch(request, LocalFolderStore(Path(scratch)), self._models) as inputs:
                result, artefacts = process(request, inputs, Limits(), lambda done, total: on_progress(done / total))
        job = _FinishedLocally(result, artefacts, self._registry.card(result.model_version), datetime.now(UTC))

        def save(export: Export, target: Path) -> None:
            with atomic_write(target) as file:
                export.write(job, file)

        return Segmented(result, save)


class _FinishedLocally(FinishedJob):
    """A result that has just been computed."""

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

    def open_artefact(self, name: str) -> BinaryIO:
        """See FinishedJob."""
        if name not in self._artefacts:
            raise NotFound(f"This study has no {name}.")
        return io.BytesIO(self._artefacts[name])

    def slice_png(self, index: int) -> bytes:
        """See FinishedJob."""
        return self._slices.read_slice(index)

    @cached_property
    def _slices(self) -> SliceArchive:
        return SliceArchive(io.BytesIO(self._artefacts[SLICE_ARCHIVE]))


def _request(attachments: Sequence[Attachment], state: RunState, root: Path) -> Request:
    """The study as a gateway would have accepted it; its files are linked, not copied."""
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
        threshold=state.threshold,
        model=state.model,
        sequence=state.sequence,
        align=state.align,
        uncertainty=state.uncertainty,
    )


def open_registry(folder: Path) -> Registry:
    """The models in a folder: one model with its card, or the store of a deployment or a training.

    Raises:
        UsageError: it is neither, or this release cannot read the card.
    """
    if (folder / CARD).is_file():
        try:
            return Registry(_SingleModelStore(folder))
        except ModelRejected as error:
            raise UsageError(error.detail) from error
    if (folder / MODELS).is_dir():
        return Registry(LocalFolderStore(folder))
    raise UsageError(f"{folder} holds no model: --model-dir takes a folder with model.onnx and card.json, or a store.")


class _SingleModelStore(LocalFolderStore):
    """A folder with one model, presented as a store whose champion it is."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        card = read_card(folder)
        self._prefix = f"{MODELS}{card.version}/"
        self._champion = Champion(version=card.version, sha256=card.sha256, promoted_at=card.created_at)

    def get(self, key: str, first: int = 0, size: int | None = None) -> bytes:
        """See ObjectStore."""
        if key == CHAMPION:
            return self._champion.model_dump_json().encode()
        if not key.startswith(self._prefix):
            raise NotFound(f"There is no object {key}.")
        return super().get(key.removeprefix(self._prefix), first, size)

    def check(self) -> None:
        """Nothing: the folder is no store that was prepared, and is only read."""
