"""Read thousands of broken files, each batch in a process of its own: `python -m tests.fuzz.run`.

Every file has to come to a volume or to a refusal that tells what to do; none may end the process, take more than
512 MB or five seconds, make a path of a name, or write a name or a patient's number into a log.
"""

import argparse
import json
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field

BATCH = 500
SECRETS = ("metseg-fuzz-escape", "JOHANNA", "5550199")
"""Of the files' names, and of the patient in the headers: whatever is written about a file holds none of them."""


@dataclass
class Findings:
    """What came of the files.

    Attributes:
        outcomes: how many came to a volume, or to which refusal.
        failures: in words, with the seed that makes the file again.
        slowest_s: of one file.
        largest_bytes: by which a process grew.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    slowest_s: float = 0.0
    largest_bytes: int = 0

    @property
    def files(self) -> int:
        return sum(self.outcomes.values())


def fuzz(first: int, count: int) -> Findings:
    """Read the files of `count` seeds from `first` on; a process that ends early is followed by the next file's."""
    findings, seed = Findings(), first
    while seed < first + count:
        seed = _batch(seed, min(BATCH, first + count - seed), findings)
    return findings


def _batch(first: int, count: int, findings: Findings) -> int:
    """Read a batch; the seed to go on with."""
    command = [sys.executable, "-W", "default", "-m", "tests.fuzz.child", str(first), str(count)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    seed = first - 1
    for line in map(json.loads, done.stdout.splitlines()):
        seed = line["seed"]
        if "outcome" in line:
            _count(line, findings)
    told = [word for word in SECRETS if word in done.stderr]
    if told:
        findings.failures.append(f"seeds {first} to {seed}: a log, a warning or a library told of {told}")
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
    """Tell what came of the files; the exit status tells whether all went well."""
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
