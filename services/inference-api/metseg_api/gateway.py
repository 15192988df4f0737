"""What all routes use: the store, the jobs, the model registry, the API keys, and threads for blocking work."""

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
from metseg_api.limiters import DownloadLimiter, UploadLimiter, VoxelLimiter

LARGEST_CONVERSIONS = 2
"""Conversions of the largest study that run at a time; of smaller ones more do."""
DOWNLOADS_PER_KEY = 8
DOWNLOAD_WAIT_S = 30.0
UPLOADS_RECEIVED, UPLOADS_RECEIVED_PER_KEY = 192, 64
"""At a time; each takes a connection and a temporary file. 1,024 descriptors suffice for them and 512 connections."""
UPLOAD_WAIT_S = 30.0
UPLOADS_STORED, UPLOADS_STORED_PER_KEY = 8, 6
"""Checked and stored at a time, each on a thread."""
REVIEWS_RECEIVED, REVIEWS_RECEIVED_PER_KEY = 4, 3
"""At a time; their bodies are in memory."""


@dataclass(frozen=True)
class ThreadLimiters:
    """How many threads of this process each kind of slow work may use.

    They are separate from the threads of plain routes, so that the gateway keeps responding during many long polls or
    many uploads to a slow store.
    """

    waits: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(64))
    uploads: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(UPLOADS_STORED))
    conversions: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(8))
    reviews: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(1))


@dataclass(frozen=True)
class Gateway:
    """What routes use, created once per process."""

    settings: Settings
    store: ObjectStore
    jobs: JobService
    registry: Registry
    keyring: Keyring
    conversions: VoxelLimiter
    threads: ThreadLimiters = field(default_factory=ThreadLimiters)
    received: UploadLimiter = field(
        default_factory=lambda: UploadLimiter(UPLOADS_RECEIVED, UPLOADS_RECEIVED_PER_KEY, UPLOAD_WAIT_S)
    )
    stored: UploadLimiter = field(default_factory=lambda: UploadLimiter(UPLOADS_STORED, UPLOADS_STORED_PER_KEY))
    reviews: UploadLimiter = field(
        default_factory=lambda: UploadLimiter(REVIEWS_RECEIVED, REVIEWS_RECEIVED_PER_KEY, UPLOAD_WAIT_S)
    )
    downloads: DownloadLimiter = field(default_factory=lambda: DownloadLimiter(DOWNLOADS_PER_KEY, DOWNLOAD_WAIT_S))


@contextmanager
def open_gateway(settings: Settings) -> Iterator[Gateway]:
    """The gateway for these settings; no connection is made until a route needs it."""
    store, keyring = open_store(settings), Keyring.read(settings.api_keys_file)
    with JobFactory(settings, store) as jobs:
        conversions = VoxelLimiter(LARGEST_CONVERSIONS * settings.limits.volume_pixels)
        yield Gateway(settings, store, jobs.service(), Registry(store), keyring, conversions)


async def _gateway(request: Request) -> Gateway:
    gateway: Gateway = request.app.state.gateway
    return gateway


CurrentGateway = Annotated[Gateway, Depends(_gateway)]
