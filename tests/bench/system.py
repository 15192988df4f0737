"""Jobs per second of the whole system, compared with the bare loop and other projects' servers of the same model."""

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench import page
from tests.bench.others import OTHERS, serving
from tests.bench.site import ROOT, Site, environment, site
from tests.bench.studies import SLICES, study_file

from metseg.client import Client

__all__ = ["AT_ONCE", "JOBS", "Contestant", "at_once", "enter_others", "looping", "system"]

AT_ONCE = 4
JOBS = 3 * AT_ONCE
BARE, WHOLE = "bare loop", "the loop, with all that is kept of a study"
OURS, TWO = "through all services", "the same with two workers of half the CPUs"


@dataclass
class Contestant:
    """Runs some jobs and returns the seconds that they took; and the CPU seconds of its parts so far."""

    run: Callable[[], float]
    cpu_s: Callable[[], dict[str, float]]
    took_s: list[float] = field(default_factory=list)
    cpu_ms: list[dict[str, float]] = field(default_factory=list)

    def turn(self, *, counts: bool) -> None:
        """Run the jobs once; the first time warms up and does not count."""
        before = self.cpu_s()
        took = self.run()
        if counts:
            self.took_s.append(took)
            self.cpu_ms.append({part: 1000 * (now - before[part]) / JOBS for part, now in self.cpu_s().items()})

    def rates(self) -> list[float]:
        """Jobs per second in each turn."""
        return [JOBS / took for took in self.took_s]

    def cpu(self, part: str | None = None) -> list[float]:
        """CPU milliseconds per job in each turn, of one part or of all."""
        return [sum(of for name, of in one.items() if part in (None, name)) for one in self.cpu_ms]


def system(here: Site, client: Client, options: argparse.Namespace, folder: Path) -> None:
    """Run the same jobs on all in turn, and write the table."""
    on = page.machine()
    study = study_file(SLICES, 5)
    with ExitStack() as stack:
        by_name = {BARE: stack.enter_context(looping(BARE, "bare", study, folder))}
        by_name[WHOLE] = stack.enter_context(looping(WHOLE, "whole", study, folder))
        by_name[OURS] = _ours(here, client, study)
        two = stack.enter_context(site(folder / "two", workers=2))
        by_name[TWO] = _ours(two, stack.enter_context(Client(two.url)), study)
        by_name |= enter_others(stack, study, folder)
        for turn in range(options.rounds + 1):
            for contestant in by_name.values():
                contestant.turn(counts=turn > 0)
    page.keep("system", on, _table(by_name, options.rounds), {name: _figures(each) for name, each in by_name.items()})


def enter_others(stack: ExitStack, study: tuple[str, bytes], folder: Path, tree: Path = ROOT) -> dict[str, Contestant]:
    """Start other projects' servers around the loop of a checkout; they end with the stack."""
    servers = {title: stack.enter_context(serving(title, folder, tree)) for title in OTHERS}
    return {
        title: Contestant(
            at_once(lambda server=server: server.segment(study)),
            lambda server=server, title=title: {title: server.cpu_s()},
        )
        for title, server in servers.items()
    }


def _ours(here: Site, client: Client, study: tuple[str, bytes]) -> Contestant:
    """A whole deployment."""
    return Contestant(at_once(lambda: client.wait(client.submit([study]).id)), here.cpu_s)


def _figures(contestant: Contestant) -> dict[str, object]:
    """Its figures as they are stored."""
    return {"jobs_per_s": contestant.rates(), "cpu_ms": contestant.cpu_ms}


def at_once(one: Callable[[], object]) -> Callable[[], float]:
    """Run all jobs, some at once; returns the seconds that took."""

    def run() -> float:
        began = time.perf_counter()
        with ThreadPoolExecutor(AT_ONCE) as clients:
            list(clients.map(lambda _: one(), range(JOBS)))
        return time.perf_counter() - began

    return run


@contextmanager
def looping(title: str, module: str, study: tuple[str, bytes], folder: Path, tree: Path = ROOT) -> Iterator[Contestant]:
    """A loop without services, in a separate process, with the code of a checkout."""
    name, content = study
    (folder / name).write_bytes(content)
    command = [sys.executable, "-m", f"tests.bench.{module}", str(folder / name), str(folder / module)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, cwd=tree, env=environment(tree), text=True, **pipes) as loop:
        assert loop.stdin is not None and loop.stdout is not None
        assert loop.stdout.readline() == "ready\n"
        spent = [0.0]

        def run() -> float:
            print(JOBS, file=loop.stdin, flush=True)
            took_s, cpu_s = map(float, loop.stdout.readline().split())
            spent[0] += cpu_s
            return took_s

        yield Contestant(run, lambda: {title: spent[0]})
        loop.stdin.close()


def _table(by_name: dict[str, Contestant], rounds: int) -> page.Table:
    bare, ours = by_name[BARE].took_s, by_name[OURS].took_s
    cells = []
    for name, each in by_name.items():
        of_bare = [loop / took for loop, took in zip(bare, each.took_s, strict=True)]
        of_other = [took / mine for took, mine in zip(each.took_s, ours, strict=True)]
        cells.append(
            [
                name,
                page.spread(each.rates(), 2),
                page.spread(of_bare, 2),
                "" if name in (BARE, OURS, TWO) else page.spread(of_other, 2),
                page.spread(each.cpu(), 0),
            ]
        )
        if name == OURS:
            cells += [[f"of it: {part}", "", "", "", page.spread(each.cpu(part), 0)] for part in each.cpu_ms[0]]
    head = ["", "jobs per second", "of the bare loop's", "ours, of its", "CPU ms per job"]
    notes = [
        f"A job is {SLICES} slices of 256x256 in a ZIP; {AT_ONCE} clients at once, {JOBS} jobs per round, {rounds} "
        "rounds in turn. The bare loop reads, prepares, predicts and measures with the served model. The second one "
        "produces all that a worker does, with pictures, maps and out-of-distribution score, and stores nothing. "
        "LitServe and BentoML do what the bare loop does, one upload per job, in one process with as many threads as "
        "ours, and answer with the lesions' diameters; they keep nothing: studies without an answer are lost when they "
        "end. Ours also stores the upload before it accepts it, and all results.",
    ]
    return {"head": head, "cells": cells, "notes": notes}
