"""Authentication by API keys, of which the gateway stores only hashes, and authorisation by their scopes.

    python -m metseg_api.auth ward-3 submit read

creates a key, prints it once, and prints its entry for METSEG_API_KEYS_FILE, a JSON list of such entries.
"""

import argparse
import hashlib
import hmac
import ipaddress
import json
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Annotated, Literal, Self, get_args

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import Field, TypeAdapter, ValidationError

from metseg.contracts import StrictContract
from metseg.errors import Forbidden, InvalidParameter, Unauthorised
from metseg.jobs import ANONYMOUS, owner_of, owner_tag

__all__ = [
    "REQUIRE_READ",
    "Admin",
    "ApiKey",
    "Caller",
    "CurrentCaller",
    "Keyring",
    "Reader",
    "Scope",
    "Submitter",
    "require_keys_if_exposed",
]

Scope = Literal["submit", "read", "admin"]
CHECK_FILE_EVERY_S = 2.0

log = logging.getLogger(__name__)


class ApiKey(StrictContract):
    """An entry of the keys file.

    A key of 256 random bits needs no slow hash: nobody can guess it, however cheap a guess is.
    """

    name: str = Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=40, description="in logs; the owner of its jobs")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="of the key")
    scopes: frozenset[Scope] = Field(min_length=1, description="admin includes the others, for every job")


class Caller:
    """Who sent a request.

    Args:
        key: sent with it; None if the gateway needs no keys.

    Attributes:
        name: of the key.
        scopes: of the key; all of them without keys.
        tag: the prefix of the IDs of the caller's jobs.
    """

    def __init__(self, key: ApiKey | None) -> None:
        self.scopes = frozenset(get_args(Scope)) if key is None else key.scopes
        self.name = None if key is None else key.name
        self.tag = ANONYMOUS if key is None else owner_tag(key.name)

    @property
    def visible_tag(self) -> str | None:
        """The tag of the jobs that the caller may see; None: all jobs."""
        return None if "admin" in self.scopes else self.tag

    @property
    def own_tag(self) -> str | None:
        """The tag of the caller's own jobs; without keys all jobs are everyone's, and it is None."""
        return None if self.name is None else self.tag

    def may_see(self, job_id: str) -> bool:
        """Whether a job is the caller's, or the caller may see all jobs."""
        return self.visible_tag in {None, owner_of(job_id)}

    def require(self, scope: Scope) -> None:
        """Raise Forbidden unless the caller has the scope or is admin."""
        if self.scopes.isdisjoint({scope, "admin"}):
            raise Forbidden(f"This key does not have the scope `{scope}`.")


class Keyring:
    """The API keys of a deployment.

    A file that changes is read again, so that a key is revoked without a restart.

    Args:
        keys: None if everyone who can reach the gateway may use it.
        file: that they were read from.
    """

    def __init__(self, keys: Sequence[ApiKey] | None, file: Path | None = None) -> None:
        self._keys, self._file = keys, file
        self._state, self._checked_at = _state_of(file), time.monotonic()

    @classmethod
    def read(cls, file: Path | None) -> Self:
        """The keys in a file; without a file none are needed.

        Raises:
            InvalidParameter: the file is missing, is not a list of entries, or a name or key occurs twice.
        """
        return cls(None) if file is None else cls(_read_keys(file), file)

    def authenticate(self, key: str | None) -> Caller:
        """The caller with this key.

        Raises:
            Unauthorised: the key is unknown, or none was sent.
        """
        if self._keys is None:
            return Caller(None)
        self._read_again()
        if key is None:
            raise Unauthorised("Send an API key, as `Authorization: Bearer KEY`.")
        sha256 = hashlib.sha256(key.encode()).hexdigest()
        matches = [each for each in self._keys or () if hmac.compare_digest(each.sha256, sha256)]  # in constant time
        if not matches:
            raise Unauthorised("This API key is unknown.")
        return Caller(matches[0])

    def _read_again(self) -> None:
        """Read the file again if it has changed; one that cannot be read changes nothing."""
        if self._file is None or time.monotonic() < self._checked_at + CHECK_FILE_EVERY_S:
            return
        self._checked_at = time.monotonic()
        state = _state_of(self._file)
        if state == self._state:
            return
        self._state = state
        try:
            self._keys = _read_keys(self._file)
            log.warning("the API keys were read again", extra={"keys": len(self._keys)})
        except InvalidParameter as error:
            log.error("the API keys stay as they were: %s", error.detail)


def _read_keys(file: Path) -> list[ApiKey]:
    """The keys in a file; InvalidParameter."""
    try:
        keys = TypeAdapter(list[ApiKey]).validate_json(file.read_bytes())
    except (OSError, ValidationError) as error:
        raise InvalidParameter(f"{file} cannot be read as a JSON list of API keys.") from error
    if len({owner_tag(key.name) for key in keys}) < len(keys) or len({key.sha256 for key in keys}) < len(keys):
        raise InvalidParameter(f"{file} contains a name or a key twice.")
    return keys


def _state_of(file: Path | None) -> tuple[int, int, int] | None:
    """What changes if a file does; None if there is none."""
    try:
        found = None if file is None else file.stat()
    except OSError:
        return None
    return None if found is None else (found.st_ino, found.st_mtime_ns, found.st_size)


_bearer = HTTPBearer(auto_error=False, description="an API key, if the deployment has keys")


async def _authenticate(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> Caller:
    key = None if credentials is None else credentials.credentials
    caller: Caller = request.app.state.gateway.keyring.authenticate(key)
    request.scope["state"]["key"] = caller.name
    return caller


CurrentCaller = Annotated[Caller, Depends(_authenticate)]


def _require(scope: Scope) -> Callable[[Caller], Awaitable[Caller]]:
    async def check(caller: CurrentCaller) -> Caller:
        caller.require(scope)
        return caller

    return check


REQUIRE_READ = Depends(_require("read"))
Submitter = Annotated[Caller, Depends(_require("submit"))]
Reader = Annotated[Caller, REQUIRE_READ]
Admin = Annotated[Caller, Depends(_require("admin"))]


def require_keys_if_exposed(addresses: Sequence[str], published_address: str) -> None:
    """Stop a gateway without keys that other machines could reach.

    Args:
        addresses: that it listens on.
        published_address: of the host, if `addresses` are a container's; otherwise empty.

    Raises:
        SystemExit: an address is not a loopback address.
    """
    exposed = [each for each in ([published_address] if published_address else addresses) if not _is_loopback(each)]
    if exposed:
        raise SystemExit(
            f"metseg: everyone who can reach {exposed[0]} could use the gateway; set METSEG_API_KEYS_FILE, or make it "
            "reachable from this machine only."
        )


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost" or address.startswith(("unix:", "/"))


def main(arguments: Sequence[str] | None = None) -> None:
    """Create a key, which is printed once and stored nowhere."""
    parser = argparse.ArgumentParser("metseg_api.auth", description="Create an API key.")
    parser.add_argument("name", help="of its owner: lower-case letters, digits and hyphens")
    parser.add_argument("scopes", nargs="+", choices=get_args(Scope))
    options = parser.parse_args(arguments)
    key = secrets.token_urlsafe(32)
    try:
        entry = ApiKey(name=options.name, sha256=hashlib.sha256(key.encode()).hexdigest(), scopes=options.scopes)
    except ValidationError:
        parser.error(f"{options.name} is not a valid name: lower-case letters, digits and hyphens, 40 at most")
    print(f"key, shown this once:  {key}")
    print(f"entry for the file:    {json.dumps(entry.model_dump(mode='json') | {'scopes': sorted(entry.scopes)})}")


if __name__ == "__main__":
    main()
