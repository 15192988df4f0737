"""A run from a folder of slices to the champion.

- `planning`: the networks and data of a run, recorded in its folder.
- `run`: the steps; `cross_validation`: the same in folds or by site.
- `structures`: the training of core and whole, on `structure_data`; `champion`: the version in service, to start from.
- `sequences`: the training of the classifier that recognises the sequence of a grey image.
- `run_store`: the record of a run in the store, and comparisons of runs.
- `locks`: several processes in one folder.
"""

from metseg_trainer.runs.champion import CHAMPION, fetch_champion
from metseg_trainer.runs.cross_validation import cross_validate, leave_sites_out
from metseg_trainer.runs.planning import REVIEWED, load_plan, make_plan
from metseg_trainer.runs.run import RunOutcome, execute_plan, finish_without_model, train
from metseg_trainer.runs.run_store import PREPARED, compare_runs, format_runs, list_runs
from metseg_trainer.runs.sequences import run_sequences
from metseg_trainer.runs.structure_data import StructureSources
from metseg_trainer.runs.structures import run_structures

__all__ = [
    "CHAMPION",
    "PREPARED",
    "REVIEWED",
    "RunOutcome",
    "StructureSources",
    "compare_runs",
    "cross_validate",
    "execute_plan",
    "fetch_champion",
    "finish_without_model",
    "format_runs",
    "leave_sites_out",
    "list_runs",
    "load_plan",
    "make_plan",
    "run_sequences",
    "run_structures",
    "train",
]
