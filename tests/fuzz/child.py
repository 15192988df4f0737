"""A process that reads broken files under a memory limit, and reports the outcome of each.

    python -m tests.fuzz.child FIRST COUNT

It writes one JSON line before and after each file: a line without its answer names the file that ended the process.
"""

import faulthandler
import io
import json
import logging
import random
import resource
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.fuzz.corpus import HOSTILE_NAMES, corpus
from tests.fuzz.mutate import mutant

from metseg import formats
from metseg.errors import BadInput
from metseg.settings import MIB, Limits

MEMORY_BYTES = 512 * MIB
SECONDS = 5.0
FIELDS = (None, None, None, "flair", "post", "pre")
MARK = "metseg-fuzz-escape"
EVENTS = {"open", "os.listdir", "os.mkdir", "os.remove", "os.rename", "os.symlink", "os.system", "subprocess.Popen"}


def main(first: int, count: int) -> None:
    """Read the files of `count` seeds."""
    faulthandler.enable(sys.stderr)
    logging.basicConfig(level=logging.DEBUG)  # with all libraries' log lines
    files = sorted(corpus().items())
    for name, data in files:  # memory loaded at first use does not count as the file's
        _read([formats.Upload(name, io.BytesIO(data), None)])
    escapes: list[str] = []
    sys.addaudithook(lambda event, arguments: _watch(escapes, event, arguments))
    before = _in_use_bytes()
    resource.setrlimit(resource.RLIMIT_AS, (_address_space_bytes() + MEMORY_BYTES,) * 2)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends the process, even within a library's call
    for seed in range(first, first + count):
        escapes.clear()
        _say(seed=seed)
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
        uploads = _uploads(files, seed)
        began = time.perf_counter()
        outcome = _read(uploads)
        took_s = time.perf_counter() - began
        signal.setitimer(signal.ITIMER_REAL, 0)
        grown = _peak_bytes() - before
        _say(seed=seed, outcome=outcome, seconds=round(took_s, 3), grown_bytes=grown, escapes=escapes)


def _uploads(files: list[tuple[str, bytes]], seed: int) -> list[formats.Upload]:
    """One broken file, or a study of it and a valid one."""
    dice = random.Random(-seed - 1)
    kind, data = mutant(files, seed)
    role: Any = dice.choice(FIELDS)
    uploads = [formats.Upload(dice.choice(HOSTILE_NAMES), io.BytesIO(data), role)]
    if role is not None and kind.startswith("nifti") and dice.random() < 0.3:
        sound = dict(files)["nifti"]
        uploads.append(formats.Upload("sound.nii", io.BytesIO(sound), "flair" if role != "flair" else "post"))
    return uploads


def _read(uploads: list[formats.Upload]) -> str:
    """`volume`, or the type of the refusal; any other exception ends the process."""
    limits = Limits()
    try:
        seen = formats.inspect_upload(uploads, limits)
        volume = formats.read_volume(uploads, limits)
    except BadInput as refusal:
        if not refusal.detail.endswith((".", "?")) or MARK in refusal.detail:
            raise AssertionError("a refusal that is no sentence, or quotes a name") from None
        return refusal.type
    assert volume.shape == seen[1:4]
    return "volume"


def _watch(escapes: list[str], event: str, arguments: tuple[Any, ...]) -> None:
    """Record each path from an upload, and each file written in a forbidden place."""
    if event not in EVENTS:
        return
    text = repr(arguments[0])
    writes = event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")
    elsewhere = writes and not str(arguments[0]).startswith((tempfile.gettempdir(), "/dev/null"))
    if MARK in text or event in {"os.system", "subprocess.Popen"} or elsewhere:
        escapes.append(f"{event} {text[:200]}")


def _address_space_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def _in_use_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def _peak_bytes() -> int:
    """Peak memory of this process alone: `ru_maxrss` starts with that of its parent."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) * 1024


def _say(**words: object) -> None:
    sys.stdout.write(json.dumps(words) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
