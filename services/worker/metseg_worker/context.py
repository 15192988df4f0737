"""What a process of the worker works with; made after the fork, since no connection and no session survives one."""

from dataclasses import dataclass

import redis

from metseg.inference import ModelCache
from metseg.jobs import Jobs, broker
from metseg.parallel import cpu_quota
from metseg.registry import Registry
from metseg.settings import Settings
from metseg.storage import ObjectStore, open_store

__all__ = ["Bench", "open_bench"]


@dataclass(frozen=True)
class Bench:
    """The tools of one process."""

    settings: Settings
    store: ObjectStore
    jobs: Jobs
    models: ModelCache


def open_bench(settings: Settings) -> Bench:
    """A bench on what `settings` name; nothing is contacted and no model loaded until it is used."""
    store = open_store(settings)
    timeout_s = settings.redis_timeout_s
    client = redis.Redis.from_url(settings.redis_url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s)
    jobs = Jobs(store, client, broker(settings), settings)
    return Bench(settings, store, jobs, ModelCache(Registry(store), settings.threads or cpu_quota()))
