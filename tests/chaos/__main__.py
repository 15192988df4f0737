"""`make chaos`: break a real deployment while real jobs run, and record their outcome.

python -m tests.chaos [--short] [--only WORD] [--repeat 5] [--write docs/reliability.md]
"""

import argparse
import logging
import os
import re
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import httpx
from tests.chaos.keeper import Keeper, Verdict, studies
from tests.chaos.scenarios import SCENARIOS, SHORT, Scenario
from tests.chaos.site import Site, site
from tests.markdown_tables import replace_block

JOBS = 8
EVERY_S = 0.7
BEFORE_S = 2.0
READY_S = 150.0
ENDED_S = 240.0

log = logging.getLogger("chaos")


class Row(NamedTuple):
    """The outcome of a scenario, of one run or of several together.

    Attributes:
        scenario: what was broken.
        verdict: on the jobs of all runs.
        recovery_s: the longest.
        error: of all runs; empty if there was none.
        runs: how many.
    """

    scenario: Scenario
    verdict: Verdict
    recovery_s: float
    error: str = ""
    runs: int = 1

    @property
    def kept(self) -> bool:
        """Whether the promise held."""
        return not (self.error or self.verdict.lost or self.verdict.differing)


def play(here: Site, keeper: Keeper, scenario: Scenario) -> Row:
    """Break the site under load, let it recover, and check every job accepted meanwhile."""
    before = len(keeper.kept)
    load = keeper.load(JOBS, EVERY_S)
    time.sleep(BEFORE_S)
    error = ""
    try:
        scenario.breaks(here, keeper)
    except (AssertionError, OSError, subprocess.SubprocessError, httpx.HTTPError) as failure:
        error = str(failure)[:200]
    began = time.monotonic()
    recovered = _recovered(here, keeper)
    recovery_s = time.monotonic() - began
    load.join(READY_S)
    error = error or "; ".join(keeper.complaints())
    verdict = keeper.verdict(keeper.kept[before:], ENDED_S)
    if not recovered:
        error = error or "it did not recover by itself"
    elif recovery_s > scenario.recovery_limit_s:
        error = error or f"recovery took {recovery_s:.0f} s, not {scenario.recovery_limit_s:.0f} at most"
    return Row(scenario, verdict, recovery_s, error)


def merged(rows: list[Row]) -> Row:
    """Several runs of one scenario as one row."""
    verdicts = [row.verdict for row in rows]
    counts = (sum(column) for column in zip(*(verdict[:-1] for verdict in verdicts), strict=True))
    problems = tuple(sorted({problem for verdict in verdicts for problem in verdict.problems}))
    error = "; ".join(row.error for row in rows if row.error)
    return Row(rows[0].scenario, Verdict(*counts, problems), max(row.recovery_s for row in rows), error, len(rows))


def _reported(row: Row) -> Row:
    log.info("%s: %s, recovery %.0f s %s", row.scenario.title, row.verdict, row.recovery_s, row.error)
    return row


def _recovered(here: Site, keeper: Keeper) -> bool:
    """Whether a job completes again without help; otherwise restarts services for the next scenario."""
    try:
        keeper.ready(READY_S)
        probe = keeper.submit(keeper.first)
        if probe is not None and keeper.end(probe, time.monotonic() + READY_S) is not None:
            return True
    except TimeoutError as silence:
        log.error("%s", silence)
    here.power_on()
    return False


def table(rows: list[Row], took_s: float) -> str:
    """The rows as Markdown."""
    head = "| what was broken | accepted | succeeded | failed, with a reason | lost | two results | recovery, s | |"
    lines = [head, "| --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |"]
    for scenario, verdict, recovery_s, error, runs in rows:
        figures = f"{verdict.accepted} | {verdict.succeeded} | {verdict.failed} | {verdict.lost} | {verdict.differing}"
        notes = "; ".join(each for each in (scenario.note, error, ", ".join(verdict.problems)) if each)
        title = scenario.title + (f", {runs} runs" if runs > 1 else "")
        lines.append(f"| {title} | {figures} | {recovery_s:.0f} | {notes} |")
    load = os.getloadavg()[2]
    lines += ["", f"Run on {datetime.now(UTC):%Y-%m-%d} in {took_s / 60:.0f} minutes on {os.cpu_count()} cores;"]
    lines += [f"other work kept the load average at {load:.1f}. Recovery ends with the first job that succeeds;"]
    lines += ["for several runs it is the longest."]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Run the scenarios; 1 if a promise was broken."""
    parser = argparse.ArgumentParser(prog="tests.chaos", description=__doc__)
    parser.add_argument("--short", action="store_true", help="worker killed, Redis wiped, store killed")
    parser.add_argument("--only", default="", help="scenarios whose title this regular expression finds")
    parser.add_argument("--repeat", type=int, default=1, help="runs of each scenario")
    parser.add_argument("--write", type=Path, help="the page whose table is renewed")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stdout)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    chosen = [each for each in (SHORT if options.short else SCENARIOS) if re.search(options.only, each.title)]
    began, rows = time.monotonic(), []
    with site() as here:
        keeper = Keeper(here.api_url, studies())
        _recovered(here, keeper)  # the first job also loads the model, which is no recovery
        for scenario in chosen:
            if lacks := scenario.lacks(here):
                log.warning("left out, this machine lacks %s: %s", lacks, scenario.title)
                continue
            rows.append(merged([_reported(play(here, keeper, scenario)) for _ in range(options.repeat)]))
            if options.write:
                replace_block(options.write, "chaos", table(rows, time.monotonic() - began))
    print(table(rows, time.monotonic() - began))
    return 0 if rows and all(row.kept for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
