"""What a process of the worker works with; opened after the fork, since no connection and no session survives one."""

from dataclasses import dataclass

from metseg.inference import ModelCache
from metseg.jobs import JobFactory, JobRunner, Maintenance, WorkerRegistry
from metseg.parallel import cpu_quota
from metseg.registry import Registry
from metseg.settings import Settings
from metseg.storage import ObjectStore, open_store

__all__ = ["WorkerContext", "open_context"]


@dataclass(frozen=True)
class WorkerContext:
    """The store, the jobs and the models of one process."""

    settings: Settings
    store: ObjectStore
    runner: JobRunner
    maintenance: Maintenance
    workers: WorkerRegistry
    models: ModelCache


def open_context(settings: Settings) -> WorkerContext:
    """The context that `settings` describe; nothing is contacted and no model loaded until it is used."""
    store = open_store(settings)
    jobs = JobFactory(settings, store)
    models = ModelCache(Registry(store), settings.threads or cpu_quota())
    return WorkerContext(settings, store, jobs.runner(), jobs.maintenance(), jobs.workers(), models)
