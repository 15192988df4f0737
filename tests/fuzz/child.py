"""A process that reads broken files under a limit of memory, and says of each what came of it.

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
    logging.basicConfig(level=logging.DEBUG)  # whatever a library has to say
    files = sorted(corpus().items())
    for name, data in files:  # what is loaded at first use is none of a file's memory
        _read([formats.Upload(name, io.BytesIO(data), None)])
    escapes: list[str] = []
    sys.addaudithook(lambda event, arguments: _watch(escapes, event, arguments))
    before = _in_use_bytes()
    resource.setrlimit(resource.RLIMIT_AS, (_address_space_bytes() + MEMORY_BYTES,) * 2)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends the process, whatever library holds it
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
    """One broken file, or with it a sound one as another sequence of the study."""
    dice = random.Random(-seed - 1)
    kind, data = mutant(files, seed)
    role: Any = dice.choice(FIELDS)
    uploads = [formats.Upload(dice.choice(HOSTILE_NAMES), io.BytesIO(data), role)]
    if role is not None and kind.startswith("nifti") and dice.random() < 0.3:
        sound = dict(files)["nifti"]
        uploads.append(formats.Upload("sound.nii", io.BytesIO(sound), "flair" if role != "flair" else "post"))
    return uploads


def _read(uploads: list[formats.Upload]) -> str:
    """`volume`, or the type of the refusal; whatever else is raised ends the process."""
    limits = Limits()
    try:
        seen = formats.inspect_upload(uploads, limits)
        volume = formats.read_volume(uploads, limits)
    except BadInput as refusal:
        if not refusal.detail.endswith((".", "?")) or MARK in refusal.detail:
            raise AssertionError("a refusal that is no sentence, or quotes a name") from None
        return refusal.type
    assert volume.shape == seen[1:]
    return "volume"


def _watch(escapes: list[str], event: str, arguments: tuple[Any, ...]) -> None:
    """Note each path that an upload named, and each file written where none should be."""
    if event not in EVENTS:
        return
    told = repr(arguments[0])
    writes = event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")
    elsewhere = writes and not str(arguments[0]).startswith((tempfile.gettempdir(), "/dev/null"))
    if MARK in told or event in {"os.system", "subprocess.Popen"} or elsewhere:
        escapes.append(f"{event} {told[:200]}")


def _address_space_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def _in_use_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def _peak_bytes() -> int:
    """Of this process alone: its `ru_maxrss` begins with that of the process that started it."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) * 1024


def _say(**words: object) -> None:
    sys.stdout.write(json.dumps(words) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
