"""A few hundred of the broken files that `python -m tests.fuzz.run` reads by the thousand, and the runner itself."""

import subprocess

import pytest
from tests.fuzz import run
from tests.fuzz.corpus import corpus
from tests.fuzz.mutate import mutant

COUNT = 250
MOST_BYTES = 512 * 2**20


@pytest.mark.slow
def test_broken_files_become_a_volume_or_a_refusal_and_no_path():
    findings = run.fuzz(first=1_000_000, count=COUNT)
    assert findings.failures == []
    assert findings.files == COUNT
    assert findings.outcomes["volume"] > COUNT / 20, "not all is broken beyond reading"
    assert len(findings.outcomes) >= 4
    assert findings.slowest_s < 5
    assert findings.largest_bytes < MOST_BYTES


def test_a_seed_reproduces_its_file():
    files = sorted(corpus().items())
    assert mutant(files, 7) == mutant(files, 7)
    assert len({mutant(files, seed)[1] for seed in range(50)}) > 45


ESCAPE = (
    "import contextlib, os\n        child.logging.getLogger('a library').debug('JOHANNA')\n"
    "        with contextlib.suppress(OSError): os.listdir('/tmp/metseg-fuzz-escape')"
)


@pytest.mark.parametrize(
    ("code", "failure", "read"),
    [
        ("bytearray(2**34)", "seed 3 ended its process (1): MemoryError", 3),
        ("import time; time.sleep(60)", "seed 3 ended its process (-14)", 3),
        (ESCAPE, "seed 3 made a path: os.listdir", 4),
    ],
    ids=["memory", "time", "a path and a log"],
)
@pytest.mark.slow
def test_a_failing_reader_is_reported_and_the_other_files_are_read(monkeypatch, code, failure, read):
    start = subprocess.run
    preface = (
        "import sys; from tests.fuzz import child\n"
        "child.SECONDS = 1.0\nread, child.corpus = child._read, (lambda whole=child.corpus: {'png': whole()['png']})\n"
        "def broken(uploads):\n"
        "    seeds.append(1)\n"
        f"    if len(seeds) == 3 and int(sys.argv[1]) == 2:\n        {code}\n"
        "    return read(uploads)\n"
        "seeds, child._read = [], broken\n"
        "child.main(int(sys.argv[1]), int(sys.argv[2]))\n"
    )

    def instead(command, **options):
        return start([command[0], "-W", "ignore", "-c", preface, *command[-2:]], **options)

    monkeypatch.setattr(run.subprocess, "run", instead)
    findings = run.fuzz(first=2, count=4)
    assert findings.failures[0].startswith(failure)
    assert len(findings.failures) == (2 if "JOHANNA" in code else 1), "the word in the log is found too"
    assert findings.files == read
