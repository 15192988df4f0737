"""The model card: what a version learned from, how well it does and what it must not be used for."""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from importlib.metadata import version as installed

import jinja2

from metseg.contracts import (
    DISCLAIMER,
    Comparison,
    DataCard,
    DiceSummary,
    Evaluation,
    ModelCard,
    OutOfDistributionCard,
    Preprocessing,
)
from metseg_trainer.data.audit import Audit
from metseg_trainer.data.dataset import Patient, fingerprint
from metseg_trainer.data.split import Split
from metseg_trainer.data.split import sha256 as split_sha256
from metseg_trainer.evaluation import EMPTY_CONVENTION, OperatingPoint
from metseg_trainer.networks import SegmentationNetwork

MARKDOWN = "model-card.md"
PACKAGES = ("torch", "albumentations", "opencv-python-headless", "numpy", "onnx", "onnxruntime")
LGG_CITATIONS = [
    "Buda M, Saha A, Mazurowski MA. Association of genomic subtypes of lower-grade gliomas with shape features "
    "automatically extracted by a deep learning algorithm. Computers in Biology and Medicine, 2019.",
    "Mazurowski MA et al. Radiogenomics of lower-grade glioma: algorithmically-assessed tumor shape is associated "
    "with tumor genomic subtypes and patient outcomes in a multi-institutional study with The Cancer Genome Atlas "
    "data. Journal of Neuro-Oncology, 2017.",
    "Pedano N et al. The Cancer Genome Atlas Low Grade Glioma Collection (TCGA-LGG). The Cancer Imaging Archive, 2016.",
]
_COMMON_LIMITS = [
    DISCLAIMER,
    "Figures hold for patients like those it was tested on; other scanners and diseases have to be measured first.",
]


@dataclass(frozen=True)
class Judged:
    """The test figures that a card carries, by the networks' titles; see `ModelCard`."""

    figures: Mapping[str, DiceSummary]
    evaluation: Mapping[str, Evaluation]
    implanted: Mapping[str, Evaluation]
    comparison: Comparison | None


def describe_data(patients: Sequence[Patient], audit: Audit, split: Split, *, implanted: bool) -> DataCard:
    """What the networks saw, without naming a patient; `implanted` tells whether metastases were drawn into it."""
    sides = {"train": split.train, "validation": split.validation, "test": split.test}
    slices = {patient.id: len(patient.slices) for patient in patients}
    name, licence, citations = _source(patients)
    return DataCard(
        name=f"{name} and drawn metastases" if implanted else name,
        licence=licence,
        citations=citations,
        patients={side: len(ids) for side, ids in sides.items()},
        slices={side: sum(slices[id] for id in ids) for side, ids in sides.items()},
        sha256=fingerprint(patients),
        split_sha256=split_sha256(split),
    )


def write_card(
    *,
    version: str,
    created_at: datetime,
    title: str,
    network: SegmentationNetwork,
    model: bytes,
    preprocessing: Preprocessing,
    point: OperatingPoint,
    data: DataCard,
    judged: Judged,
    familiarity: OutOfDistributionCard | None = None,
) -> ModelCard:
    """The card of a version that is about to be published."""
    return ModelCard(
        version=version,
        created_at=created_at,
        network=title,
        parameters=parameters(network),
        sha256=sha256(model).hexdigest(),
        preprocessing=preprocessing,
        threshold=point.threshold,
        smallest_lesion_px=point.smallest_lesion_px,
        familiarity=familiarity,
        data=data,
        figures=dict(judged.figures),
        evaluation=dict(judged.evaluation),
        implanted=dict(judged.implanted),
        comparison=judged.comparison,
        git_revision=git_revision(),
        packages=packages(),
        intended_use="Research on the segmentation of focal lesions in axial brain MRI slices.",
        limits=[*_limits(data), *_COMMON_LIMITS],
        licence=data.licence,
    )


def markdown(card: ModelCard) -> str:
    """The card for people, under the headings of Mitchell et al., Model Cards for Model Reporting, FAT* 2019."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("metseg_trainer.reporting", ""), undefined=jinja2.StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, keep_trailing_newline=True, autoescape=False,  # noqa: S701  # Markdown, not HTML
    )  # fmt: skip
    page: str = environment.get_template("model-card.md.j2").render(card=card, convention=EMPTY_CONVENTION)
    return page


def packages() -> dict[str, str]:
    """The versions of what trains and exports."""
    return {package: installed(package) for package in PACKAGES}


def parameters(network: SegmentationNetwork) -> int:
    """How many weights a network learns."""
    return sum(parameter.numel() for parameter in network.parameters())


def git_revision() -> str:
    """The revision that runs: as the image was told when built, or the checkout's; `unknown` without both."""
    if told := os.environ.get("GIT_REVISION"):
        return told
    git = shutil.which("git")
    if git is None:
        return "unknown"
    asked = subprocess.run([git, "rev-parse", "HEAD"], capture_output=True, text=True, check=False)  # noqa: S603
    return asked.stdout.strip() if asked.returncode == 0 else "unknown"


def _source(patients: Sequence[Patient]) -> tuple[str, str, list[str]]:
    if all(patient.id.startswith("TCGA_") for patient in patients):
        return "TCGA lower-grade glioma (FLAIR abnormality)", "CC BY-NC-SA 4.0", LGG_CITATIONS
    if all(patient.id.startswith("PHANTOM_") for patient in patients):
        return "metseg head phantoms", "Apache-2.0", []
    return "local data", "as its owner states; nothing is granted here", []


def _limits(data: DataCard) -> list[str]:
    if data.licence == "CC BY-NC-SA 4.0":
        return [
            "It learned the FLAIR abnormality of adult lower-grade gliomas, and metastases that were drawn into real "
            "heads; it has seen no real metastasis.",
            "Non-commercial use only, under the licence of its data.",
        ]
    if data.name.startswith("metseg head phantoms"):
        return ["It has seen drawn heads only; on real MRI it finds nothing that can be relied on."]
    return []
