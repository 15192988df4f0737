"""The life of a job.

The store holds the truth, Redis makes it fast and can be rebuilt from the store, and a message in the queue may arrive
twice, late, or for nothing.

    deposit      submit           lease + start         finish
    ------> (upload) ------> queued ------> running ------> succeeded
               |                ^             |  |  fail
               | discard        |  recover    |  +--------> failed
               v                +-------------+
             (gone)             after release, give_back, or the worker's death; 3 attempts at most

    A job whose records this release cannot read is shown as failed and can be deleted. `Maintenance` ends one whose
    request is unreadable.

    delete: from any state to (gone); a worker sees it as `Cancelled`. Nothing of a deleted job comes back.

| state | object, below `jobs/{id}/` in the store, or `open/{id}` | who may write it |
| --- | --- | --- |
| uploaded | `input/...`, `open/{id}` (queued) | `JobService.deposit` |
| accepted: the job exists | `request.json` | `JobService.submit` |
| running, attempts | `open/{id}`, deleted when the job has ended | the `JobRunner` that has the lease |
| preview of a running job | `glimpse.png` | the same |
| result and artefacts of an attempt | `results/TOKEN` | the same; each attempt has an object |
| succeeded or failed, which results count | `end.json` | the first `JobRunner` that creates it, or `Maintenance` |
| reviews, the newest in force | `reviews/NUMBER`, files `reviewed/TOKEN` | the first `JobReviews` to create it |
| deleted | none; `request.json` goes first | `JobService.delete`, `Maintenance.expire`, the bucket's lifecycle rule |

Copies of reviewed studies that may be used for training are below `training/` (`TrainingStudies`).
Below `maintenance/` are the store's clock and the tombstones of jobs that are about to expire (`metseg.jobs.expiry`).
`JobListing` finds jobs by listing: what is open, the oldest, the newest.
In Redis: order, queue and open jobs (`JobIndex`), leases with progress and cancellation (`LeaseTable`), heartbeats
(`WorkerRegistry`), counters (`JobMetrics`), agreement of readers and models (`JobAgreements`), submissions per owner
(`RateLimiter`). Idempotency keys are in the store, below `keys/`. `JobFactory` opens the gateway's side
(`JobService`) or the worker's (`JobRunner`, `Maintenance`).
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
