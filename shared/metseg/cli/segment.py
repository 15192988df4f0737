"""`metseg segment`: many studies at once, each to a folder of its own."""

import argparse
import os
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path

from metseg.atomic_io import folder_lock
from metseg.cli.engine import Engine, Interrupted, Remote
from metseg.cli.exits import Exit, Usage
from metseg.cli.formats import parse_formats
from metseg.cli.progress import Progress
from metseg.cli.work import Asked, Done, segment
from metseg.client import Client, Study, find
from metseg.contracts import Result
from metseg.errors import MetsegError

__all__ = ["asked", "client", "engine", "run"]


def run(options: argparse.Namespace) -> Exit:
    """Segment the studies that the command line names; what an earlier run did is left as it is."""
    how = asked(options)
    try:
        studies = find(options.studies)
    except MetsegError as error:
        raise Usage(error.detail) from error
    stop = threading.Event()
    with folder_lock(options.out), engine(options, stop) as worker, Progress(len(studies)) as progress:
        return _all(studies, out=options.out, how=how, worker=worker, progress=progress, stop=stop)


def _all(
    studies: list[Study], *, out: Path, how: Asked, worker: Engine, progress: Progress, stop: threading.Event
) -> Exit:
    def one(study: Study) -> Done:
        def tell(share: float) -> None:
            if stop.is_set():
                raise Interrupted
            progress.tell(study.name, share)

        tell(0.0)
        return segment(study.path, out / study.name, how, worker, tell)

    exits = [Exit.DONE]
    with ThreadPoolExecutor(worker.parallel) as pool:
        running = {pool.submit(one, study): study for study in studies}
        try:
            for future in as_completed(running):
                exits.append(_report(running[future], future, progress, stop))
        except KeyboardInterrupt:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            progress.line("metseg: stopped; the same command goes on with what is left.", error=True)
            return Exit.INTERRUPTED
    return max(exits)


def _report(study: Study, future: Future[Done], progress: Progress, stop: threading.Event) -> Exit:
    """Tell how a study ended; where all others would end alike, have them end."""
    try:
        done = future.result()
    except Interrupted:
        return Exit.DONE
    except MetsegError as error:
        status = Exit.of(error)
        if not (status.ends_all and stop.is_set()):  # once is enough
            progress.line(f"metseg: {study.name}: {error.detail}", error=True)
        if status.ends_all:
            stop.set()
        return status
    except OSError as error:
        progress.line(f"metseg: {study.name}: the results cannot be written: {error.strerror}.", error=True)
        return Exit.FAILED
    progress.tell(study.name, 1.0)
    progress.line(f"{study.name}: {_words(done.result)}{' (done before)' if done.before else ''}")
    return Exit.DONE


def _words(result: Result) -> str:
    lesions = result.lesions
    counted = f"{len(lesions)} lesion{'' if len(lesions) == 1 else 's'}"
    if not lesions:
        return counted
    if result.spacing_mm is None:
        return f"{counted}, {sum(lesion.voxels for lesion in lesions)} voxels"
    return f"{counted}, {sum(lesion.volume_mm3 or 0 for lesion in lesions):.0f} mm3"


def asked(options: argparse.Namespace) -> Asked:
    """How to segment, as the command line tells; Usage where it contradicts itself."""
    if options.local != (options.model_dir is not None):
        raise Usage("--local and --model-dir belong together: the folder of the model to segment with.")
    if options.threshold is not None and not 0 <= options.threshold <= 1:
        raise Usage("--threshold is from 0 to 1.")
    if options.parallel < 1:
        raise Usage("--parallel is 1 or more.")
    if options.local and options.deidentify:
        raise Usage("--deidentify is for a server; with --local nothing leaves this machine.")
    exports = parse_formats(options.formats)
    if any(export.kind == "uncertainty" for export in exports) and not options.uncertainty:
        raise Usage("The uncertainty map is computed only with --uncertainty.")
    return Asked(
        options.threshold,
        options.model,
        None if options.local else options.server,
        exports,
        deidentify=options.deidentify,
        align=options.align,
        uncertainty=options.uncertainty,
    )


@contextmanager
def engine(options: argparse.Namespace, stop: threading.Event) -> Iterator[Engine]:
    """What the command line wants studies segmented by."""
    if options.local:
        yield _local(options.model_dir)
        return
    with client(options) as server:
        yield Remote(server, options.parallel, stop)


def _local(folder: Path) -> Engine:
    try:
        from metseg.cli.local import Local
    except ModuleNotFoundError as error:
        raise Usage(
            f"--local needs {error.name}, which is not installed: pip install './shared[local]' brings it."
        ) from error
    return Local(folder)


def client(options: argparse.Namespace) -> Client:
    """The client of the server that the command line names, with the key that it or the environment gives.

    Raises:
        Usage: the key's file cannot be read.
    """
    key = os.environ.get("METSEG_API_KEY", "")
    if options.key_file is not None:
        try:
            key = options.key_file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise Usage(f"The key in {options.key_file} cannot be read.") from error
    return Client(options.server, api_key=key.strip() or None)
