"""Models of what the services exchange: jobs, results, model cards and problems, in the store and the REST API.

- `base`: the common base class, the problem detail, and the disclaimer.
- `ids`: the form of job IDs and model versions.
- `jobs`: submissions and the state of their jobs.
- `results`: what was found.
- `models`: model cards and the champion.
- `evaluation`: the test results in a model card.
"""

from metseg.contracts.base import (
    DISCLAIMER,
    MAX_LABEL_CHARACTERS,
    RESEARCH_ONLY,
    SHORT_DISCLAIMER,
    STRUCTURES,
    Align,
    Contract,
    Probability,
    Problem,
    Role,
    StrictContract,
    Structure,
)
from metseg.contracts.evaluation import (
    CalibrationPoint,
    Comparison,
    Detection,
    DiceSummary,
    Evaluation,
    Interval,
    LesionMetrics,
    MetricSummary,
)
from metseg.contracts.ids import MODEL_VERSION_PATTERN, ModelVersion, is_job_id, is_model_version
from metseg.contracts.jobs import InputFile, Job, JobPage, JobStatus, KeyInfo, Overview, Progress, Request, Resubmission
from metseg.contracts.models import (
    Champion,
    DataCard,
    FullPrecision,
    ModelCard,
    ModelPage,
    OperatingPoint,
    OutOfDistributionCard,
    OutOfDistributionReference,
    Preprocessing,
    Variant,
)
from metseg.contracts.results import (
    Alignment,
    BoundingBox,
    Float4,
    Grid,
    Int3,
    Lesion,
    NiftiGeometry,
    OutOfDistribution,
    Result,
    SliceMeasurements,
    StructureMeasurements,
)

__all__ = [
    "DISCLAIMER",
    "MAX_LABEL_CHARACTERS",
    "MODEL_VERSION_PATTERN",
    "RESEARCH_ONLY",
    "SHORT_DISCLAIMER",
    "STRUCTURES",
    "Align",
    "Alignment",
    "BoundingBox",
    "CalibrationPoint",
    "Champion",
    "Comparison",
    "Contract",
    "DataCard",
    "Detection",
    "DiceSummary",
    "Evaluation",
    "Float4",
    "FullPrecision",
    "Grid",
    "InputFile",
    "Int3",
    "Interval",
    "Job",
    "JobPage",
    "JobStatus",
    "KeyInfo",
    "Lesion",
    "LesionMetrics",
    "MetricSummary",
    "ModelCard",
    "ModelPage",
    "ModelVersion",
    "NiftiGeometry",
    "OperatingPoint",
    "OutOfDistribution",
    "OutOfDistributionCard",
    "OutOfDistributionReference",
    "Overview",
    "Preprocessing",
    "Probability",
    "Problem",
    "Progress",
    "Request",
    "Resubmission",
    "Result",
    "Role",
    "SliceMeasurements",
    "StrictContract",
    "Structure",
    "StructureMeasurements",
    "Variant",
    "is_job_id",
    "is_model_version",
]
