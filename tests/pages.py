"""The page for tests: a separate Streamlit server on a free loopback port.

To see it with the fake gateway: `python -m tests.pages`, with `shared` and `services/ui` on PYTHONPATH.
"""

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
from tests.fake_gateway import FakeGateway, serving
from tests.servers import free_ports

ROOT = Path(__file__).parents[1]
APP = ROOT / "services" / "ui" / "metseg_ui" / "app.py"
SERVER = APP.with_name("server.py")
CONFIG = APP.parent / ".streamlit" / "config.toml"
START_S = 60.0


@contextlib.contextmanager
def serving_page(gateway_url: str, tree: Path = ROOT) -> Iterator[str]:
    """The URL of a page that talks to that gateway and runs the code of that checkout, until the block ends."""
    [port] = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    paths = os.pathsep.join([str(tree / "shared"), str(tree / "services" / "ui")])
    environment = {**os.environ, "METSEG_GATEWAY_URL": gateway_url, "PYTHONPATH": paths}
    command = [
        sys.executable,
        "-m",
        "streamlit",
        "run",
        str(tree / SERVER.relative_to(ROOT)),
        "--server.port",
        str(port),
    ]
    with tempfile.TemporaryDirectory() as elsewhere, tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, cwd=elsewhere, env=environment, stdout=log, stderr=log)
        try:
            until_healthy(process, url)
            yield url
        finally:
            process.terminate()
            process.wait(timeout=30)


def until_healthy(process: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the page ended with {process.returncode}")
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{url}/_stcore/health").is_success:
                return
        time.sleep(0.1)
    raise TimeoutError(f"the page was not healthy within {START_S:g} s")


if __name__ == "__main__":
    with serving(FakeGateway(queued_s=3, running_s=5)) as gateway, serving_page(gateway.url) as page:
        print(f"{page} over {gateway.url}, until Ctrl-C", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            while True:
                time.sleep(3600)
