"""Other projects' servers around the same model and preprocessing, each with its own packages."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
from tests.bench.site import ROOT, environment
from tests.overlay import python_with
from tests.servers import free_ports, wait_until

__all__ = ["OTHERS", "Other", "serving"]

START_S = 600.0
ANSWER_S = 600.0
OTHERS = {"LitServe": ("litserve", "python-multipart"), "BentoML": ("bentoml",)}
"""The packages of each, by title."""


class Other:
    """Such a server, as its client sees it."""

    def __init__(self, url: str, process: psutil.Process) -> None:
        self._http = httpx.Client(base_url=url, timeout=ANSWER_S)
        self._process = process

    def segment(self, study: tuple[str, bytes]) -> list[float]:
        """The long diameters of a study's lesions, in pixels."""
        answer = self._http.post("/predict", files={"request": study})
        lesions: list[float] = answer.raise_for_status().json()["lesions"]
        return lesions

    def answers(self) -> bool:
        """Whether it answers; 404 is an answer."""
        try:
            self._http.get("/", timeout=2)
        except httpx.TransportError:
            return False
        return True

    def cpu_s(self) -> float:
        """CPU seconds used by all of its processes."""
        family = [self._process, *self._process.children(recursive=True)]
        return float(sum(sum(each.cpu_times()[:2]) for each in family))


@contextmanager
def serving(title: str, folder: Path, tree: Path = ROOT) -> Iterator[Other]:
    """A server of one of `OTHERS` around the loop of a checkout, for the length of the block.

    Raises:
        RuntimeError: it ended at once; the message has its output.
    """
    [port] = free_ports(1)
    variables = environment(tree) | {"BENTOML_DO_NOT_TRACK": "true"}
    python = python_with(*OTHERS[title])
    commands = {
        "LitServe": [*python, "-m", "tests.bench.serve_litserve", str(port)],
        "BentoML": [
            *(*python, "-m", "bentoml", "serve", "tests.bench.serve_bentoml:Bento"),
            *("--host", "127.0.0.1", "--port", str(port)),
        ],
    }
    with (folder / f"{title}.log").open("wb") as log:
        process = subprocess.Popen(commands[title], cwd=tree, env=variables, stdout=log, stderr=log)
        here = Other(f"http://127.0.0.1:{port}", psutil.Process(process.pid))
        try:
            wait_until(lambda: process.poll() is not None or here.answers(), START_S)
            if process.poll() is not None:
                raise RuntimeError(f"{title} did not start:\n{(folder / f'{title}.log').read_text()[-2000:]}")
            yield here
        finally:
            _end(process)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End it and its descendants."""
    if process.poll() is not None:
        return
    first = psutil.Process(process.pid)
    family = [*first.children(recursive=True), first]
    for each in family:
        each.terminate()
    _, left = psutil.wait_procs(family, timeout=20)
    for each in left:
        each.kill()
    psutil.wait_procs(left)
