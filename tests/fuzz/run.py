"""Read thousands of broken files, each batch in a separate process: `python -m tests.fuzz.run`.

Every file must become a volume or a refusal that says what to do; none may end the process, take more than 512 MB or
five seconds, turn a name into a path, or write a name or a patient's number into a log.
"""

import argparse
import json
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field

BATCH = 500
SECRETS = ("metseg-fuzz-escape", "JOHANNA", "5550199")
"""Words from file names and patient headers: no output about a file may contain them."""


@dataclass
class Findings:
    """The outcomes of the files.

    Attributes:
        outcomes: how many became a volume, or which refusal.
        failures: as text, with the seed that reproduces the file.
        slowest_s: the longest time of a file.
        largest_bytes: the largest growth of a process.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    slowest_s: float = 0.0
    largest_bytes: int = 0

    @property
    def files(self) -> int:
        return sum(self.outcomes.values())


def fuzz(first: int, count: int) -> Findings:
    """Read the files of `count` seeds from `first`; after a process that ends early, another reads the rest."""
    findings, seed = Findings(), first
    while seed < first + count:
        seed = _batch(seed, min(BATCH, first + count - seed), findings)
    return findings


def _batch(first: int, count: int, findings: Findings) -> int:
    """Read a batch; returns the next seed."""
    command = [sys.executable, "-W", "default", "-m", "tests.fuzz.child", str(first), str(count)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    seed = first - 1
    for line in map(json.loads, done.stdout.splitlines()):
        seed = line["seed"]
        if "outcome" in line:
            _count(line, findings)
    leaked = [word for word in SECRETS if word in done.stderr]
    if leaked:
        findings.failures.append(f"seeds {first} to {seed}: a log, a warning or a library printed {leaked}")
    if done.returncode == 0:
        return first + count
    reason = done.stderr.strip().splitlines()[-1:] or [""]
    findings.failures.append(f"seed {seed} ended its process ({done.returncode}): {reason[0]}")
    if seed < first:
        raise RuntimeError(f"no file was read:\n{done.stderr[-3000:]}")
    return seed + 1


def _count(line: dict, findings: Findings) -> None:
    findings.outcomes[line["outcome"]] += 1
    findings.slowest_s = max(findings.slowest_s, line["seconds"])
    findings.largest_bytes = max(findings.largest_bytes, line["grown_bytes"])
    if line["escapes"]:
        findings.failures.append(f"seed {line['seed']} made a path: {line['escapes'][0]}")


def main() -> None:
    """Print the outcomes; the exit status is 0 if nothing failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.run", description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0, help="the first seed; a nightly run takes another each night")
    options = parser.parse_args()
    findings = fuzz(options.first, options.count)
    for outcome, count in findings.outcomes.most_common():
        print(f"{count:7d}  {outcome}")
    print(
        f"{findings.files} files: slowest {findings.slowest_s:.2f} s, largest growth "
        f"{findings.largest_bytes / 2**20:.0f} MiB, {len(findings.failures)} failures"
    )
    for failure in findings.failures:
        print(failure, file=sys.stderr)
    sys.exit(1 if findings.failures else 0)


if __name__ == "__main__":
    main()
