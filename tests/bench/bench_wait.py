"""What a reader waits for on the page, part by part, in a real browser with real services.

    git worktree add --detach /tmp/before REVISION
    python -m tests.bench.bench_wait --tree /tmp/before --tree . --rounds 3

Each checkout gets its own Redis, S3 server, gateway, worker and page, and each round visits them in turn, so that their
times can be compared. A time is in seconds after the files were chosen, of the end of that part; the click on "Find
lesions" follows as soon as the page allows it. It needs Playwright and Chromium (METSEG_BROWSER).
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from statistics import median
from urllib.parse import parse_qs, urlsplit

import httpx
from playwright.sync_api import Browser, Locator, Page, Request, expect, sync_playwright
from tests.bench.bench_page import TIMEOUT_MS, WEBGL, browser_path, volumes
from tests.bench.site import ROOT, site
from tests.pages import serving_page

from metseg.imaging import encode_png
from metseg.phantom import head
from metseg.phantom.dicom import study_files

VIEWER = "[...document.querySelectorAll('*')].map((one) => one.shadowRoot?.querySelector('.viewer')).find(Boolean)"
PICTURE = f"""() => {{
    const viewer = {VIEWER}, image = viewer?.querySelector("img.fallback");
    return viewer?.dataset.ready || (image?.complete && image.naturalWidth);
}}"""
READY = f"() => {VIEWER}?.dataset.ready === 'true'"
LAYERS = ("mask", "probability", "pre", "flair", "post")
UPLOADS = ("/submissions/", "/upload_file/")
"""In the addresses of uploads: of the page's own uploader, and of Streamlit's."""
MOMENTS = ("created", "started", "finished")
POLL_MS = 20


def volume_files(folder: Path) -> None:
    """Three NIfTI volumes of 155 slices."""
    volumes(folder, 155)


def series_files(folder: Path) -> None:
    """330 DICOM files: three series of 110 slices of 256 x 256 pixels."""
    found = study_files(head(47, slices=110, size_px=256, spacing_mm=(1.5, 1.0, 1.0)))
    for name, content in found.items():
        (folder / name).write_bytes(content)


def slice_file(folder: Path) -> None:
    """One slice of 256 x 256 pixels, as PNG."""
    (folder / "slice.png").write_bytes(encode_png(head(47, slices=40, size_px=256).volume.pixels[20]))


STUDIES: dict[str, Callable[[Path], None]] = {"slice": slice_file, "volumes": volume_files, "series": series_files}


def study(name: str, folder: Path) -> list[Path]:
    """What the reader chooses: files, or for DICOM their folder; made unless the folder exists."""
    if not (folder / name).exists():
        made = folder / f"{name}.new"
        made.mkdir()
        STUDIES[name](made)
        made.rename(folder / name)
    return [folder / name] if name == "series" else sorted((folder / name).iterdir())


@dataclass
class Visit:
    """The requests of a visit: URL, start and end, in seconds since the epoch."""

    page: Page
    requests: list[tuple[str, float, float]] = field(default_factory=list)

    def record(self, request: Request) -> None:
        timing = request.timing
        start = timing["startTime"] / 1000
        self.requests.append((request.url, start, start + timing["responseEnd"] / 1000))

    def when(self, script: str) -> float:
        """When a condition of the page came true."""
        self.page.wait_for_function(script, polling=POLL_MS, timeout=TIMEOUT_MS)
        return time.time()

    def when_fetched(self, layers: Iterable[str]) -> None:
        """Wait for the layers."""
        deadline = time.monotonic() + TIMEOUT_MS / 1000
        while missing := [layer for layer in layers if not self.ended(f"/{layer}")]:
            if time.monotonic() > deadline:
                raise TimeoutError(f"not fetched: {missing}")
            self.page.wait_for_timeout(POLL_MS)

    def ended(self, *words: str) -> list[float]:
        """The ends of the requests whose URL contains one of these."""
        return [end for url, _, end in self.requests if any(word in url for word in words)]


def visit(browser: Browser, url: str, gateway: httpx.Client, files: list[Path]) -> dict[str, float]:
    """Submit files on the page and wait for the result; returns the time of each part, after the choice of files."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(TIMEOUT_MS)
    page = context.new_page()
    seen = Visit(page)
    page.on("requestfinished", seen.record)
    page.goto(url)
    button = page.get_by_role("button", name="Find lesions")
    expect(button).to_be_visible(timeout=TIMEOUT_MS)
    uploader = chooser(page, folder=files[0].is_dir())
    page.wait_for_timeout(500)
    chosen = time.time()
    uploader.set_input_files([str(path) for path in files])
    expect(button).to_be_enabled(timeout=TIMEOUT_MS)
    times = {"button": time.time()}
    button.click()
    times["picture"] = seen.when(PICTURE)
    times["viewer"] = seen.when(READY)
    layers, keys = (LAYERS[:1], "") if files[0].suffix == ".png" else (LAYERS, "123m")
    for key in keys:
        page.locator(".viewer .stage").press(key)
    seen.when_fetched(layers)
    times["all layers"] = max(seen.ended("/volumes/"))
    times["uploads"] = max(seen.ended(*UPLOADS))
    times |= server_times(gateway, parse_qs(urlsplit(page.url).query)["job"][0])
    for layer in layers:
        times[f"layer {layer}"] = max(seen.ended(f"/{layer}"))
    context.close()
    return {name: at - chosen for name, at in sorted(times.items(), key=lambda each: each[1])}


def chooser(page: Page, *, folder: bool) -> Locator:
    """The field for files, or for a folder; Streamlit's uploader, which earlier releases have, is one of both."""
    switch = page.get_by_text("Upload a whole folder")
    own = page.get_by_label("Folder" if folder else "Files", exact=True)
    switch.or_(own).first.wait_for(state="attached", timeout=TIMEOUT_MS)
    if not switch.count():
        uploader = own
    else:
        if folder:
            switch.click()
            page.wait_for_timeout(1000)
        uploader = page.locator("input[type=file]").first
    uploader.wait_for(state="attached", timeout=TIMEOUT_MS)
    return uploader


def server_times(gateway: httpx.Client, job_id: str) -> dict[str, float]:
    """When the parts of a job ended on the server, over plain HTTP, which every release understands."""
    job, result = (gateway.get(f"/v1/jobs/{job_id}{path}").raise_for_status().json() for path in ("", "/result"))
    created, at, stored = (datetime.fromisoformat(job[f"{name}_at"]).timestamp() for name in MOMENTS)
    times = {"job created": created, "job started": at}
    for phase, seconds in result["durations_s"].items():
        at += seconds
        times[f"job {phase}"] = at
    return times | {"job stored": stored}


@contextmanager
def deployment(folder: Path, tree: Path) -> Iterator[tuple[str, httpx.Client]]:
    """The page's URL and a client of its gateway."""
    folder.mkdir()
    with (
        site(folder, tree=tree) as here,
        serving_page(here.url, tree) as url,
        httpx.Client(base_url=here.url) as client,
    ):
        yield url, client


def shown(study: str, trees: list[Path], measured: dict[Path, list[dict[str, float]]]) -> Iterator[str]:
    """A Markdown table of the medians."""
    yield f"\n| {study} | " + " | ".join(map(str, trees)) + " |\n| --- |" + " ---: |" * len(trees)
    for part in measured[trees[-1]][-1]:
        cells = (f"{median(times[part] for times in measured[tree]):.2f}" for tree in trees)
        yield f"| {part} | " + " | ".join(cells) + " |"


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser()
    options.add_argument("--tree", type=Path, action="append", help="a checkout; this one if none is given")
    options.add_argument("--study", choices=STUDIES, action="append")
    options.add_argument("--studies", type=Path, help="a folder that keeps the files of the studies for the next run")
    options.add_argument("--rounds", type=int, default=3)
    wanted = options.parse_args()
    trees = [tree.resolve() for tree in wanted.tree or [ROOT]]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        kept = wanted.studies or folder / "studies"
        kept.mkdir(parents=True, exist_ok=True)
        files = {name: study(name, kept) for name in ("slice", *(wanted.study or STUDIES))}
        running = {tree: stack.enter_context(deployment(folder / str(index), tree)) for index, tree in enumerate(trees)}
        browser = stack.enter_context(sync_playwright()).chromium.launch(executable_path=browser_path(), args=WEBGL)
        stack.callback(browser.close)
        for deployed in running.values():
            visit(browser, *deployed, files["slice"])  # loads the model, and what Python imports late
        for name in wanted.study or STUDIES:
            measured: dict[Path, list[dict[str, float]]] = {tree: [] for tree in trees}
            for _ in range(wanted.rounds):
                for tree, deployed in running.items():
                    measured[tree].append(visit(browser, *deployed, files[name]))
                    print(f"{name}, {tree}: {measured[tree][-1]['viewer']:.1f} s", file=sys.stderr, flush=True)
            print("\n".join(shown(name, trees, measured)), flush=True)


if __name__ == "__main__":
    main()
