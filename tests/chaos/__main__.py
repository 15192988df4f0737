"""`make chaos`: break a real deployment while real jobs run, and record their outcome.

python -m tests.chaos [--short] [--only WORD] [--no-build] [--write docs/reliability.md]
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
    """The outcome of a scenario."""

    scenario: Scenario
    verdict: Verdict
    recovery_s: float
    error: str = ""

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
    return Row(scenario, verdict, recovery_s, error or ("" if recovered else "it did not recover by itself"))


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
    for scenario, verdict, recovery_s, error in rows:
        figures = f"{verdict.accepted} | {verdict.succeeded} | {verdict.failed} | {verdict.lost} | {verdict.differing}"
        notes = "; ".join(each for each in (scenario.note, error, ", ".join(verdict.problems)) if each)
        lines.append(f"| {scenario.title} | {figures} | {recovery_s:.0f} | {notes} |")
    load = os.getloadavg()[2]
    lines += ["", f"Run on {datetime.now(UTC):%Y-%m-%d} in {took_s / 60:.0f} minutes on {os.cpu_count()} cores;"]
    lines += [f"other work kept the load average at {load:.1f}. Recovery ends with the first job that succeeds."]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Run the scenarios; 1 if a promise was broken."""
    parser = argparse.ArgumentParser(prog="tests.chaos", description=__doc__)
    parser.add_argument("--short", action="store_true", help="worker killed, Redis wiped, store killed")
    parser.add_argument("--only", default="", help="scenarios whose title this regular expression finds")
    parser.add_argument("--no-build", action="store_true", help="take the images of the last run")
    parser.add_argument("--write", type=Path, help="the page whose table is renewed")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stdout)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    chosen = [each for each in (SHORT if options.short else SCENARIOS) if re.search(options.only, each.title)]
    began, rows = time.monotonic(), []
    with site(build=not options.no_build) as here:
        keeper = Keeper(here.api_url, studies())
        for scenario in chosen:
            if lacks := scenario.lacks(here):
                log.warning("left out, this machine lacks %s: %s", lacks, scenario.title)
                continue
            rows.append(play(here, keeper, scenario))
            log.info("%s: %s, recovery %.0f s %s", scenario.title, rows[-1].verdict, *rows[-1][2:])
            if options.write:
                replace_block(options.write, "chaos", table(rows, time.monotonic() - began))
    print(table(rows, time.monotonic() - began))
    return 0 if rows and all(row.kept for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
