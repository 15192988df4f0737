"""What every route stands on: the store, the jobs, the registry, and threads for work that blocks."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Annotated

from anyio import CapacityLimiter
from fastapi import Depends, Request

from metseg.jobs import JobFactory, JobService
from metseg.registry import Registry
from metseg.settings import Settings
from metseg.storage import ObjectStore, open_store
from metseg_api.auth import Keyring


@dataclass(frozen=True)
class Threads:
    """How many threads of this process each kind of slow work may hold.

    They are counted apart from the threads of plain routes, so that many waiting clients, or many uploads to a
    slow store, leave the rest of the gateway answering.
    """

    waits: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(64))
    uploads: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(8))
    conversions: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(2))


@dataclass(frozen=True)
class Gateway:
    """The parts that routes use, made once for each process."""

    settings: Settings
    store: ObjectStore
    jobs: JobService
    registry: Registry
    keyring: Keyring
    threads: Threads = field(default_factory=Threads)


@contextmanager
def open_gateway(settings: Settings) -> Iterator[Gateway]:
    """A gateway to what `settings` name; nothing is contacted until a route needs it."""
    store, keyring = open_store(settings), Keyring.read(settings.api_keys_file)
    with JobFactory(settings, store) as jobs:
        yield Gateway(settings, store, jobs.service(), Registry(store), keyring)


async def _gateway(request: Request) -> Gateway:
    gateway: Gateway = request.app.state.gateway
    return gateway


TheGateway = Annotated[Gateway, Depends(_gateway)]
