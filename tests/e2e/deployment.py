"""A Docker Compose deployment with a separate name and ports, independent of any that runs."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from tests.servers import free_ports

ROOT = Path(__file__).parents[2]


class Deployment:
    """The compose file of this repository, as a new user would run it: no .env, no data.

    Args:
        data: the trainer's.
        overlays: further compose files on top, with their variables.
    """

    def __init__(self, data: Path, *overlays: str, variables: Mapping[str, str] = MappingProxyType({})):
        api, ui, self.prometheus_port = free_ports(3)
        self.name = "-".join(["metseg-e2e", str(os.getpid()), *(Path(each).suffixes[0][1:] for each in overlays)])
        files = ("docker-compose.yml", *overlays) if overlays else ()
        self._files = [part for file in files for part in ("--file", file)]
        self.api_url = f"http://127.0.0.1:{api}"
        self.ui_url = f"http://127.0.0.1:{ui}"
        self.ready_s = float("inf")
        ours = {"METSEG_API_PORT": str(api), "METSEG_UI_PORT": str(ui), "DATA_DIR": str(data)}
        ours |= {"METSEG_PROMETHEUS_PORT": str(self.prometheus_port), **variables}
        foreign = ("METSEG_", "COMPOSE_", "MINIO_")
        self._environment = {k: v for k, v in os.environ.items() if not k.startswith(foreign)} | ours

    def compose(self, *arguments: str, timeout_s: float = 600) -> str:
        """Run `docker compose` and return its output; its progress goes to ours."""
        done = self._run(arguments, timeout_s)
        sys.stderr.write(done.stderr)
        last_words = " ".join(done.stderr.splitlines()[-3:])
        assert done.returncode == 0, f"docker compose {' '.join(arguments)} ended with {done.returncode}: {last_words}"
        return done.stdout

    def _run(self, arguments: Sequence[str], timeout_s: float) -> subprocess.CompletedProcess[str]:
        options = ["--ansi", "never", "--project-name", self.name, "--env-file", os.devnull, *self._files]
        return subprocess.run(
            ["docker", "compose", *options, *arguments],
            cwd=ROOT,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
            start_new_session=True,  # a signal to our process group must not stop the removal
        )

    def logs(self, lines: str = "200") -> str:
        """The last lines of every service, or `all`, as far as available."""
        return self._run(["--profile", "*", "logs", "--no-color", "--tail", lines], 60).stdout

    def build(self) -> None:
        """Build every image, the trainer's too."""
        self.compose("--profile", "train", "build", timeout_s=1200)

    def up(self) -> None:
        """Start it; returns when every service is healthy."""
        began = time.monotonic()
        self.compose("up", "--detach", "--wait", "--wait-timeout", "120", timeout_s=180)
        self.ready_s = time.monotonic() - began

    def down(self) -> None:
        """Remove its containers, volumes, networks and images, also where another command is ending meanwhile."""
        options = ["--volumes", "--remove-orphans", "--rmi", "local", "--timeout", "10"]
        for _ in range(3):  # a one-off container may remove itself concurrently
            done = self._run(["--profile", "*", "down", *options], 120)
            sys.stderr.write(done.stderr)
            if done.returncode == 0:
                return
            time.sleep(2)
        raise AssertionError(f"{self.name} could not be removed")

    def follow(self, commands: str, folder: Path) -> None:
        """Run the commands of a docs page verbatim in a folder, on this deployment."""
        variables = {"COMPOSE_FILE": str(ROOT / "docker-compose.yml"), "COMPOSE_PROJECT_NAME": self.name}
        script = commands.replace("metseg_", f"{self.name}_")
        command = ["bash", "-euxo", "pipefail", "-c", script]
        subprocess.run(command, cwd=folder, env=self._environment | variables, check=True, timeout=300)

    @contextlib.contextmanager
    def cut(self, service: str, network: str) -> Iterator[None]:
        """Disconnect a service from a network."""
        name, container = f"{self.name}_{network}", self.container(service)
        subprocess.run(["docker", "network", "disconnect", "--force", name, container], check=True)
        try:
            yield
        finally:
            subprocess.run(["docker", "network", "connect", "--alias", service, name, container], check=True)

    def container(self, service: str) -> str:
        """The id of a running service's container."""
        return self.compose("ps", "--quiet", service).strip()

    def restarts(self, service: str) -> tuple[str, str]:
        """The container of a service, its start time and number of restarts."""
        form = "{{.State.StartedAt}} {{.RestartCount}} {{.State.Running}}"
        container = self.container(service)
        command = ["docker", "inspect", "--format", form, container]
        return container, subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
