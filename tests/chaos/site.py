"""A deployment to be broken, and the hands that break it: signals, pauses, cut networks, a disk of its own."""

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.e2e.deployment import Deployment

__all__ = ["Site", "site"]

NAME = "metseg-chaos"
DISK_MIB = 1536
CLOCK = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
"""Debian's libfaketime, which gives a process a clock of its own, as the kernel does not."""
UP_S = 180.0


class Site(Deployment):
    """The compose deployment under a name of its own, so that images are built once.

    Args:
        folder: scratch.
        disk: where the store's own small disk is mounted; None where this machine cannot mount one.
        name: of the project.
        variables: more of the environment.
    """

    def __init__(self, folder: Path, disk: Path | None, name: str, variables: Mapping[str, str]) -> None:
        self.disk = disk
        self._folder = folder
        overlay = folder / "chaos.compose.yml"
        volume = "driver: local, driver_opts: {type: none, o: bind, device: " + str(disk) + "}"
        overlay.write_text(f"volumes:\n  store-data: {{{volume}}}\n" if disk else "services: {}\n", encoding="utf-8")
        limits = {"METSEG_KEY_JOBS_PER_MINUTE": "6000", "METSEG_KEY_OPEN_JOBS": "250"}
        super().__init__(folder, str(overlay), limits | dict(variables))
        self.name = name

    def begin(self, build: bool) -> None:
        """Build, unless the images are there, and start."""
        if build:
            self.compose("build", "api", "worker", "setup", "store-owner", timeout_s=1200)
        self.power_on()

    def power_on(self) -> None:
        """Start what does not run; the page takes no part."""
        self.compose("up", "--detach", "--no-build", "--wait", "--wait-timeout", "150", "api", "worker", timeout_s=UP_S)

    def docker(self, *arguments: str) -> str:
        """Run `docker` and give what it printed."""
        done = subprocess.run(["docker", *arguments], stdout=subprocess.PIPE, text=True, check=True, timeout=UP_S)
        return done.stdout.strip()

    def box(self, service: str) -> str:
        """The container of a service, running or not."""
        return self.compose("ps", "--all", "--quiet", service).split()[0]

    def kill(self, service: str) -> None:
        """As the kernel ends a process: the restart policy has to bring it back."""
        self._until_running(service)
        pid = int(self.docker("inspect", "--format", "{{.State.Pid}}", self.box(service)))
        assert pid, f"{service} ended before it was killed"  # 0 would be our own group
        os.kill(pid, signal.SIGKILL)
        self._until_running(service)

    def stop(self, service: str) -> None:
        """As a deploy does: its signal, its grace, then again."""
        self.docker("stop", self.box(service))
        self.docker("start", self.box(service))

    def pause(self, service: str, seconds: float) -> None:
        """Let a service hang."""
        self.docker("pause", self.box(service))
        try:
            time.sleep(seconds)
        finally:
            self.docker("unpause", self.box(service))

    def wipe_redis(self) -> None:
        """Redis forgets everything while it runs."""
        self.docker("exec", self.box("redis"), "redis-cli", "flushall")

    def lose_redis_volume(self) -> None:
        """Redis dies, and its volume with it."""
        self.compose("rm", "--stop", "--force", "redis")
        self.docker("volume", "rm", f"{self.name}_redis-data")
        self.compose("up", "--detach", "--no-build", "--no-deps", "redis")

    def power_cut(self) -> None:
        """Everything at once, then everything again."""
        self.docker("kill", *(self.box(service) for service in ("api", "worker", "redis", "store")))
        self.power_on()

    @contextlib.contextmanager
    def memory(self, service: str, limit: str) -> Iterator[None]:
        """A service with less memory than it needs."""
        box = self.box(service)
        before = self.docker("inspect", "--format", "{{.HostConfig.Memory}}", box)
        self.docker("kill", box)  # a limit below what is in use is refused
        self.docker("update", "--memory", limit, "--memory-swap", limit, box)
        self.docker("start", box)
        try:
            yield
        finally:
            self.docker("update", "--memory", before, "--memory-swap", before, box)
            self._until_running(service)

    @contextlib.contextmanager
    def full_disk(self) -> Iterator[None]:
        """The store's disk without room."""
        filler = self._own_disk() / "filler"
        free = os.statvfs(filler.parent)
        subprocess.run(["fallocate", "--length", str(free.f_bavail * free.f_frsize - 4096), filler], check=True)
        try:
            yield
        finally:
            filler.unlink()

    @contextlib.contextmanager
    def read_only_disk(self) -> Iterator[None]:
        """The store comes up on a disk that the kernel mounted read-only; one in use cannot become so."""
        self._remount("ro")
        try:
            yield
        finally:
            self._remount("rw")

    def _remount(self, mode: str) -> None:
        self.docker("stop", self.box("store"))
        subprocess.run(["mount", "--options", f"remount,{mode}", self._own_disk()], check=True)
        self.docker("start", self.box("store"))

    @contextlib.contextmanager
    def clock(self, service: str, off_s: int) -> Iterator[None]:
        """A service comes up with a clock that is off, and afterwards with the right one."""
        assert CLOCK is not None, "this machine has no libfaketime"
        overlay = self._folder / "clock.compose.yml"
        told = {"LD_PRELOAD": "/clock.so", "FAKETIME": f"{off_s:+d}s", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
        changed = {"environment": told, "volumes": [f"{CLOCK}:/clock.so:ro"]}
        overlay.write_text(json.dumps({"services": {service: changed}}), encoding="utf-8")  # JSON is YAML
        again = ("up", "--detach", "--no-build", "--no-deps", service)
        self.compose("--file", str(overlay), *again)
        try:
            now = float(self.docker("exec", self.box(service), "python", "-c", "import time; print(time.time())"))
            assert abs(now - time.time() - off_s) < 60, "the clock is not off"
            yield
        finally:
            self.compose(*again)

    def in_setup(self, program: str) -> None:
        """Run Python with the store's own rights."""
        self.compose("run", "--rm", "--no-deps", "setup", "python", "-c", program)

    def _own_disk(self) -> Path:
        assert self.disk is not None, "this machine cannot give the store a disk of its own"
        return self.disk

    def until_restarted(self, service: str) -> None:
        """Wait until a service ended by itself and was started again, since it was last started by hand."""
        deadline = time.monotonic() + UP_S
        while self.docker("inspect", "--format", "{{.RestartCount}}", self.box(service)) == "0":
            assert time.monotonic() < deadline, f"{service} bears what should have ended it"
            time.sleep(0.5)

    def _until_running(self, service: str) -> None:
        deadline = time.monotonic() + UP_S
        while self.docker("inspect", "--format", "{{.State.Running}}", self.box(service)) != "true":
            assert time.monotonic() < deadline, f"{service} did not come back"
            time.sleep(0.2)


@contextlib.contextmanager
def site(build: bool, name: str = NAME, *, small_disk: bool = True, **variables: str) -> Iterator[Site]:
    """A running site, taken down with its volumes afterwards; its images stay for the next run.

    Its store has a small disk, which can be filled, where `small_disk` and this machine's rights allow it.
    """
    with tempfile.TemporaryDirectory(prefix="metseg-chaos-") as scratch, contextlib.ExitStack() as stack:
        disk = stack.enter_context(_own_disk(Path(scratch))) if small_disk else None
        here = Site(Path(scratch), disk, name, variables)
        try:
            here.begin(build)
            yield here
        except BaseException:
            print(here.logs("60"))
            raise
        finally:
            here.compose("down", "--volumes", "--remove-orphans", "--timeout", "5")


@contextlib.contextmanager
def _own_disk(scratch: Path) -> Iterator[Path | None]:
    """A small file system in a file, which can be filled and made read-only; None without the rights to mount."""
    image, folder = scratch / "disk.ext4", scratch / "disk"
    folder.mkdir()
    with image.open("wb") as file:
        file.truncate(DISK_MIB * 2**20)
    made = subprocess.run(["mkfs.ext4", "-q", "-m", "0", image], stderr=subprocess.DEVNULL, check=False)
    mounted = subprocess.run(["mount", "-o", "loop", image, folder], stderr=subprocess.DEVNULL, check=False)
    if made.returncode or mounted.returncode:
        yield None
        return
    os.chown(folder, 10001, 10001)
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)
