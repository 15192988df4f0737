"""`metseg segment`: segment studies concurrently, each into its own folder."""

import argparse
import os
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path

from metseg.atomic_io import folder_lock
from metseg.cli.backend import Backend, Interrupted, ServerBackend
from metseg.cli.exit_codes import ExitCode, UsageError
from metseg.cli.formats import parse_formats
from metseg.cli.progress import ProgressBar
from metseg.cli.segment_study import SegmentOptions, StudyOutcome, segment_study
from metseg.client import Client, LocalStudy, find_studies
from metseg.contracts import Result
from metseg.errors import MetsegError

__all__ = ["open_backend", "open_client", "parse_options", "run"]


def run(arguments: argparse.Namespace) -> ExitCode:
    """Segment the studies on the command line; those that an earlier run finished are skipped."""
    options = parse_options(arguments)
    try:
        studies = find_studies(arguments.studies)
    except MetsegError as error:
        raise UsageError(error.detail) from error
    if arguments.taken_on is not None and len(studies) > 1:
        raise UsageError("--taken-on is of one study; segment studies of other dates separately.")
    stop = threading.Event()
    with folder_lock(arguments.out), open_backend(arguments, stop) as backend, ProgressBar(len(studies)) as progress:
        return _segment_all(studies, out=arguments.out, options=options, backend=backend, progress=progress, stop=stop)


def _segment_all(
    studies: list[LocalStudy],
    *,
    out: Path,
    options: SegmentOptions,
    backend: Backend,
    progress: ProgressBar,
    stop: threading.Event,
) -> ExitCode:
    def segment_one(study: LocalStudy) -> StudyOutcome:
        def on_progress(share: float) -> None:
            if stop.is_set():
                raise Interrupted
            progress.update(study.name, share)

        on_progress(0.0)
        return segment_study(study.path, out / study.name, options, backend, on_progress)

    codes = [ExitCode.DONE]
    with ThreadPoolExecutor(backend.max_concurrency) as pool:
        running = {pool.submit(segment_one, study): study for study in studies}
        try:
            for future in as_completed(running):
                codes.append(_report(running[future], future, progress, stop))
        except KeyboardInterrupt:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            progress.write("metseg: stopped; run the same command to continue.", error=True)
            return ExitCode.INTERRUPTED
    return max(codes)


def _report(study: LocalStudy, future: Future[StudyOutcome], progress: ProgressBar, stop: threading.Event) -> ExitCode:
    """Print how a study ended; stop the others if they would fail for the same reason."""
    try:
        outcome = future.result()
    except Interrupted:
        return ExitCode.DONE
    except MetsegError as error:
        code = ExitCode.of(error)
        if not (code.is_fatal and stop.is_set()):  # printed already
            progress.write(f"metseg: {study.name}: {error.detail}", error=True)
        if code.is_fatal:
            stop.set()
        return code
    except OSError as error:
        progress.write(f"metseg: {study.name}: the results cannot be written: {error.strerror}.", error=True)
        return ExitCode.FAILED
    progress.update(study.name, 1.0)
    progress.write(f"{study.name}: {_summarise(outcome.result)}{' (done before)' if outcome.done_before else ''}")
    return ExitCode.DONE


def _summarise(result: Result) -> str:
    lesions = result.lesions
    counted = f"{len(lesions)} lesion{'' if len(lesions) == 1 else 's'}"
    if not lesions:
        return counted
    if result.spacing_mm is None:
        return f"{counted}, {sum(lesion.voxels for lesion in lesions)} voxels"
    return f"{counted}, {sum(lesion.volume_mm3 or 0 for lesion in lesions):.0f} mm3"


def parse_options(arguments: argparse.Namespace) -> SegmentOptions:
    """How to segment; UsageError if the command line contradicts itself."""
    if arguments.local != (arguments.model_dir is not None):
        raise UsageError("--local and --model-dir belong together: --model-dir is the folder of the model.")
    if arguments.threshold is not None and not 0 <= arguments.threshold <= 1:
        raise UsageError("--threshold must be from 0 to 1.")
    if arguments.parallel < 1:
        raise UsageError("--parallel must be 1 or more.")
    if arguments.local and arguments.deidentify:
        raise UsageError("--deidentify is for a server; with --local nothing leaves this machine.")
    exports = parse_formats(arguments.formats, arguments.margin)
    if any(export.kind == "uncertainty" for export in exports) and not arguments.uncertainty:
        raise UsageError("The uncertainty map is computed only with --uncertainty.")
    return SegmentOptions(
        arguments.threshold,
        arguments.model,
        None if arguments.local else arguments.server,
        exports,
        deidentify=arguments.deidentify,
        sequence=arguments.sequence,
        align=arguments.align,
        uncertainty=arguments.uncertainty,
        patient=arguments.patient,
        taken_on=arguments.taken_on,
    )


@contextmanager
def open_backend(arguments: argparse.Namespace, stop: threading.Event) -> Iterator[Backend]:
    """The backend that the command line asks for.

    Args:
        arguments: of the command line.
        stop: set if the run should stop.

    Yields:
        This process or a server.
    """
    if arguments.local:
        yield _local_backend(arguments.model_dir)
        return
    with open_client(arguments) as client:
        yield ServerBackend(client, arguments.parallel, stop)


def _local_backend(folder: Path) -> Backend:
    try:
        from metseg.cli.local import LocalBackend
    except ModuleNotFoundError as error:
        raise UsageError(
            f"--local needs {error.name}, which is not installed; pip install './shared[local]' installs it."
        ) from error
    return LocalBackend(folder)


def open_client(arguments: argparse.Namespace) -> Client:
    """The client of the server on the command line, with the API key from a file or the environment.

    Raises:
        UsageError: the key's file cannot be read.
    """
    key = os.environ.get("METSEG_API_KEY", "")
    if arguments.key_file is not None:
        try:
            key = arguments.key_file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"The key in {arguments.key_file} cannot be read.") from error
    return Client(arguments.server, api_key=key.strip() or None)
