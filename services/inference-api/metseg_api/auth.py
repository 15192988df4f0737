"""Who may do what: API keys, of which the gateway knows nothing but hashes.

    python -m metseg_api.auth ward-3 submit read

makes a key, prints it once, and prints the entry for the file that METSEG_API_KEYS_FILE names: a JSON list of entries.
"""

import argparse
import hashlib
import hmac
import ipaddress
import json
import secrets
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Annotated, Literal, Self, get_args

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import Field, TypeAdapter, ValidationError

from metseg.contracts import Contract
from metseg.errors import Forbidden, InvalidParameter, Unauthorised
from metseg.jobs import ANONYMOUS, owner_of, owner_tag

__all__ = [
    "READING",
    "Admin",
    "Caller",
    "Key",
    "Keyring",
    "Reader",
    "Scope",
    "Submitter",
    "TheCaller",
    "refuse_to_be_open",
]

Scope = Literal["submit", "read", "admin"]


class Key(Contract):
    """An entry of the keys file.

    A key of 256 random bits needs no slow hash: nobody guesses it, whatever a guess costs.
    """

    name: str = Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=40, description="in logs; the owner of its jobs")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="of the key")
    scopes: frozenset[Scope] = Field(min_length=1, description="admin may do all, with every job")


class Caller:
    """Whoever sent a request.

    Args:
        key: that came with it; None where the gateway is open to all.
    """

    def __init__(self, key: Key | None) -> None:
        self.scopes = frozenset(get_args(Scope)) if key is None else key.scopes
        self.name = None if key is None else key.name
        self.tag = ANONYMOUS if key is None else owner_tag(key.name)

    @property
    def sees(self) -> str | None:
        """The tag of the jobs that the caller sees; None: all jobs."""
        return None if "admin" in self.scopes else self.tag

    def may_see(self, job_id: str) -> bool:
        """Whether a job is the caller's, or the caller may see all."""
        return self.sees in {None, owner_of(job_id)}

    def check(self, scope: Scope) -> None:
        """Forbidden, unless the caller has the scope or is admin."""
        if self.scopes.isdisjoint({scope, "admin"}):
            raise Forbidden(f"This key does not have the scope `{scope}`.")


class Keyring:
    """The keys that a gateway knows.

    Args:
        keys: None: the gateway is open to all who reach it.
    """

    def __init__(self, keys: Sequence[Key] | None) -> None:
        self._keys = keys

    @classmethod
    def read(cls, file: Path | None) -> Self:
        """The keys of a file; without a file the gateway is open.

        Raises:
            InvalidParameter: the file is missing, is no list of entries, or two of them are of one name or key.
        """
        if file is None:
            return cls(None)
        try:
            keys = TypeAdapter(list[Key]).validate_json(file.read_bytes())
        except (OSError, ValidationError) as error:
            raise InvalidParameter(f"{file} holds no API keys: it has to be a JSON list of entries.") from error
        if len({owner_tag(key.name) for key in keys}) < len(keys) or len({key.sha256 for key in keys}) < len(keys):
            raise InvalidParameter(f"{file} names two keys alike, or holds one twice.")
        return cls(keys)

    def caller(self, key: str | None) -> Caller:
        """Who holds a key.

        Raises:
            Unauthorised: nobody, or none was given.
        """
        if self._keys is None:
            return Caller(None)
        if key is None:
            raise Unauthorised("Send an API key, as `Authorization: Bearer KEY`.")
        given = hashlib.sha256(key.encode()).hexdigest()
        holders = [one for one in self._keys if hmac.compare_digest(one.sha256, given)]  # all of them, at equal pace
        if not holders:
            raise Unauthorised("This API key is not known here.")
        return Caller(holders[0])


_bearer = HTTPBearer(auto_error=False, description="an API key, where the deployment has keys")


async def _caller(request: Request, given: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]) -> Caller:
    caller: Caller = request.app.state.gateway.keyring.caller(None if given is None else given.credentials)
    request.scope["state"]["key"] = caller.name
    return caller


TheCaller = Annotated[Caller, Depends(_caller)]


def _having(scope: Scope) -> Callable[[Caller], Awaitable[Caller]]:
    async def check(caller: TheCaller) -> Caller:
        caller.check(scope)
        return caller

    return check


READING = Depends(_having("read"))
Submitter = Annotated[Caller, Depends(_having("submit"))]
Reader = Annotated[Caller, READING]
Admin = Annotated[Caller, Depends(_having("admin"))]


def refuse_to_be_open(addresses: Sequence[str], published: str) -> None:
    """End a gateway without keys that others than this machine could reach.

    Args:
        addresses: that it listens on.
        published: of the host, where these are a container's own; empty where they are not.
    """
    reachable = [address for address in ([published] if published else addresses) if not _is_loopback(address)]
    if reachable:
        raise SystemExit(
            f"metseg: the gateway would be open to all who reach {reachable[0]}; set METSEG_API_KEYS_FILE, or let it "
            "be reached from this machine alone."
        )


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost" or address.startswith(("unix:", "/"))


def main(arguments: Sequence[str] | None = None) -> None:
    """Make a key; it is shown once and kept nowhere."""
    parser = argparse.ArgumentParser("metseg_api.auth", description="Make an API key.")
    parser.add_argument("name", help="of its holder: small letters, digits and hyphens")
    parser.add_argument("scopes", nargs="+", choices=get_args(Scope))
    options = parser.parse_args(arguments)
    key = secrets.token_urlsafe(32)
    try:
        entry = Key(name=options.name, sha256=hashlib.sha256(key.encode()).hexdigest(), scopes=options.scopes)
    except ValidationError:
        parser.error(f"{options.name} is no name: small letters, digits and hyphens, 40 at most")
    print(f"key, shown this once:  {key}")
    print(f"entry for the file:    {json.dumps(entry.model_dump(mode='json') | {'scopes': sorted(entry.scopes)})}")


if __name__ == "__main__":
    main()
