"""A deployment and the means to break it: signals, pauses, cut networks, a small disk."""

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.e2e.deployment import Deployment

__all__ = ["Site", "parse_oom_kills", "site"]

NAME = "metseg-chaos"
DISK_MIB = 1536
CLOCK = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
"""Debian's libfaketime, which gives one process another clock; the kernel cannot."""
OOM_COUNTERS = ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control")  # cgroup v2, v1
UP_S = 420.0


class Site(Deployment):
    """The compose deployment under a separate name, so that images are built once.

    Args:
        folder: scratch.
        disk: mount point of the store's small disk; None if this machine cannot mount one.
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
        super().__init__(folder, str(overlay), variables=limits | dict(variables))
        self.name = name

    def begin(self) -> None:
        """Build the images, and start."""
        self.compose("build", "--with-dependencies", "api", "worker", timeout_s=1200)
        self.power_on()

    def power_on(self) -> None:
        """Start what does not run, without the page."""
        self.compose("up", "--detach", "--no-build", "--wait", "--wait-timeout", "300", "api", "worker", timeout_s=UP_S)

    def docker(self, *arguments: str) -> str:
        """Run `docker` and return its output."""
        done = subprocess.run(["docker", *arguments], stdout=subprocess.PIPE, text=True, check=True, timeout=UP_S)
        return done.stdout.strip()

    def box(self, service: str) -> str:
        """The container of a service, running or not."""
        return self.compose("ps", "--all", "--quiet", service).split()[0]

    def kill(self, service: str) -> None:
        """Kill it as the kernel would: the restart policy must bring it back."""
        self._until_running(service)
        pid = int(self.docker("inspect", "--format", "{{.State.Pid}}", self.box(service)))
        assert pid, f"{service} ended before it was killed"  # 0 would be our own group
        os.kill(pid, signal.SIGKILL)
        self._until_running(service)

    def stop(self, service: str) -> None:
        """Restart it as a deploy does: signal, grace period, start."""
        self.docker("stop", self.box(service))
        self.docker("start", self.box(service))

    def pause(self, service: str, seconds: float) -> None:
        """Pause a service."""
        self.docker("pause", self.box(service))
        try:
            time.sleep(seconds)
        finally:
            self.docker("unpause", self.box(service))

    def wipe_redis(self) -> None:
        """Flush Redis while it runs."""
        self.docker("exec", self.box("redis"), "redis-cli", "flushall")

    def lose_redis_volume(self) -> None:
        """Kill Redis and remove its volume."""
        self.compose("rm", "--stop", "--force", "redis")
        self.docker("volume", "rm", f"{self.name}_redis-data")
        self.compose("up", "--detach", "--no-build", "--no-deps", "redis")

    def power_cut(self) -> None:
        """Kill everything at once, then start it again."""
        self.docker("kill", *(self.box(service) for service in ("api", "worker", "redis", "store")))
        self.power_on()

    @contextlib.contextmanager
    def memory(self, service: str, limit: str) -> Iterator[None]:
        """Run a service with less memory than it needs."""
        box = self.box(service)
        before = str(self.memory_bytes(service))
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
        """Fill the store's disk."""
        filler = self._own_disk() / "filler"
        free = os.statvfs(filler.parent)
        subprocess.run(["fallocate", "--length", str(free.f_bavail * free.f_frsize - 4096), filler], check=True)
        try:
            yield
        finally:
            filler.unlink()

    @contextlib.contextmanager
    def read_only_disk(self) -> Iterator[None]:
        """Start the store on a disk mounted read-only; one in use cannot be remounted."""
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
        """Start a service with a wrong clock, and afterwards with the right one."""
        assert CLOCK is not None, "this machine has no libfaketime"
        overlay = self._folder / "clock.compose.yml"
        fake_clock = {"LD_PRELOAD": "/clock.so", "FAKETIME": f"{off_s:+d}s", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
        changed = {"environment": fake_clock, "volumes": [f"{CLOCK}:/clock.so:ro"]}
        overlay.write_text(json.dumps({"services": {service: changed}}), encoding="utf-8")  # JSON is YAML
        again = ("up", "--detach", "--no-build", "--no-deps", service)
        self.compose("--file", str(overlay), *again)
        try:
            now = float(self.docker("exec", self.box(service), "python", "-c", "import time; print(time.time())"))
            assert abs(now - time.time() - off_s) < 60, "the clock is not off"
            yield
        finally:
            self.compose(*again)

    @contextlib.contextmanager
    def api_keys(self, *keys: str) -> Iterator[None]:
        """Start the gateway with these API keys, each with a different name, and afterwards without any."""
        file, again = self._folder / "api-keys.json", ("up", "--detach", "--no-build", "--no-deps", "--wait", "api")
        file.write_text(json.dumps([_entry(key) for key in keys]), encoding="utf-8")
        file.chmod(0o644)
        self._environment["METSEG_API_KEYS_FILE"] = str(file)
        self.compose(*again)
        try:
            yield
        finally:
            del self._environment["METSEG_API_KEYS_FILE"]
            self.compose(*again)

    def memory_bytes(self, service: str) -> int:
        """The memory that a service may take."""
        return int(self.docker("inspect", "--format", "{{.HostConfig.Memory}}", self.box(service)))

    def deaths(self, service: str) -> tuple[int, int]:
        """How often a service was restarted, and how many of its processes the kernel has killed for memory since."""
        box = self.box(service)
        restarts = int(self.docker("inspect", "--format", "{{.RestartCount}}", box))
        read = " || ".join(f"cat {each} 2>/dev/null" for each in OOM_COUNTERS)
        return restarts, parse_oom_kills(self.docker("exec", box, "sh", "-c", read))

    def in_setup(self, program: str) -> None:
        """Run Python with the store's rights."""
        self.compose("run", "--rm", "--no-deps", "setup", "python", "-c", program)

    def _own_disk(self) -> Path:
        assert self.disk is not None, "this machine cannot give the store a separate disk"
        return self.disk

    def until_restarted(self, service: str) -> None:
        """Wait until a service has exited and restarted since its last manual start."""
        deadline = time.monotonic() + UP_S
        while self.docker("inspect", "--format", "{{.RestartCount}}", self.box(service)) == "0":
            assert time.monotonic() < deadline, f"{service} survives what should have ended it"
            time.sleep(0.5)

    def _until_running(self, service: str) -> None:
        deadline = time.monotonic() + UP_S
        while self.docker("inspect", "--format", "{{.State.Running}}", self.box(service)) != "true":
            assert time.monotonic() < deadline, f"{service} did not come back"
            time.sleep(0.2)


def _entry(key: str) -> dict[str, object]:
    return {"name": key, "sha256": hashlib.sha256(key.encode()).hexdigest(), "scopes": ["submit", "read"]}


def parse_oom_kills(events: str) -> int:
    """The count `oom_kill` of cgroup v2's `memory.events`, or of v1's `memory.oom_control`."""
    return int(dict(line.split() for line in events.splitlines())["oom_kill"])


@contextlib.contextmanager
def site(name: str = NAME, *, small_disk: bool = True, **variables: str) -> Iterator[Site]:
    """A running site, removed with its volumes and images afterwards.

    Its store has a small disk, which can be filled, where `small_disk` and this machine's rights allow it.
    """
    with tempfile.TemporaryDirectory(prefix="metseg-chaos-") as scratch, contextlib.ExitStack() as stack:
        disk = stack.enter_context(_own_disk(Path(scratch))) if small_disk else None
        here = Site(Path(scratch), disk, name, variables)
        try:
            here.begin()
            yield here
        except BaseException:
            print(here.logs("60"))
            raise
        finally:
            here.down()


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
