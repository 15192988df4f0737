"""The reports of a run, of core and whole, and of a frontier.

- `report`, `structures_report`, `frontier_page`: HTML, drawn by `charts`, `examples` and the templates.
- `results`: JSON, and the tables of the documents.
- `run_record`: how a run was trained.
"""

from metseg_trainer.reporting.examples import pick_structure_examples
from metseg_trainer.reporting.frontier_page import write_frontier_page
from metseg_trainer.reporting.report import ANONYMOUS_REPORT, write_run_reports
from metseg_trainer.reporting.results import (
    PATIENTS,
    RESULTS,
    results_markdown,
    structures_markdown,
    write_patient_results,
)
from metseg_trainer.reporting.run_record import ENVIRONMENT
from metseg_trainer.reporting.structures_report import (
    StructureReport,
    write_structure_reports,
    write_structure_results,
)

__all__ = [
    "ANONYMOUS_REPORT",
    "ENVIRONMENT",
    "PATIENTS",
    "RESULTS",
    "StructureReport",
    "pick_structure_examples",
    "results_markdown",
    "structures_markdown",
    "write_frontier_page",
    "write_patient_results",
    "write_run_reports",
    "write_structure_reports",
    "write_structure_results",
]
