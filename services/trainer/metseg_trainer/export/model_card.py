"""The model card: a version's training data, performance and limits of use."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from itertools import chain
from pathlib import Path

import jinja2

from metseg.contracts import (
    DISCLAIMER,
    Comparison,
    DataCard,
    DiceSummary,
    Evaluation,
    ModelCard,
    OperatingPoint,
    OutOfDistributionCard,
    Preprocessing,
    Structure,
)
from metseg.imaging import SEQUENCE_NAMES
from metseg.registry import CARD
from metseg_trainer.data import REVIEWED_SITE, Patient, Split, fingerprint, split_sha256
from metseg_trainer.data.structures import BriscSlice
from metseg_trainer.evaluation import EMPTY_CONVENTION
from metseg_trainer.networks import SegmentationNetwork
from metseg_trainer.training import Plan, git_revision, packages

__all__ = [
    "KNOWN_CORES",
    "MARKDOWN",
    "CardFigures",
    "describe_data",
    "describe_structure_data",
    "make_card",
    "save_card",
]

MARKDOWN = "model-card.md"
REVIEWED = "reviewed studies of a deployment"
DRAWN = "drawn metastases"
KNOWN_CORES = "studies with a known core"
LGG_CITATIONS = [
    "Buda M, Saha A, Mazurowski MA. Association of genomic subtypes of lower-grade gliomas with shape features "
    "automatically extracted by a deep learning algorithm. Computers in Biology and Medicine, 2019.",
    "Mazurowski MA et al. Radiogenomics of lower-grade glioma: algorithmically-assessed tumor shape is associated "
    "with tumor genomic subtypes and patient outcomes in a multi-institutional study with The Cancer Genome Atlas "
    "data. Journal of Neuro-Oncology, 2017.",
    "Pedano N et al. The Cancer Genome Atlas Low Grade Glioma Collection (TCGA-LGG). The Cancer Imaging Archive, 2016.",
]
BRISC_CITATIONS = [
    "Fateh A et al. BRISC: annotated dataset for brain tumor segmentation and classification. Scientific Data, 2026; "
    "doi:10.1038/s41597-026-06753-y.",
    "Cheng J. Brain tumor dataset. figshare, 2017; doi:10.6084/m9.figshare.1512427.",
]
_COMMON_LIMITS = [
    DISCLAIMER,
    "Figures hold for patients like those it was tested on; measure other scanners and diseases first.",
]


@dataclass(frozen=True)
class CardFigures:
    """The test figures in a card, by the networks' titles; see `ModelCard`."""

    figures: Mapping[str, DiceSummary] = field(default_factory=dict)
    evaluation: Mapping[str, Evaluation] = field(default_factory=dict)
    implanted: Mapping[str, Evaluation] = field(default_factory=dict)
    comparison: Comparison | None = None


def describe_data(plan: Plan) -> DataCard:
    """Describe the training data of a run, without naming a patient."""
    slices = {patient.id: len(patient.slices) for patient in plan.patients}
    sides = {"train": plan.split.train, "validation": plan.split.validation, "test": plan.split.test}
    others = [patient for patient in plan.patients if patient.site != REVIEWED_SITE]
    name, licence, citations = _source(others)
    if others and len(others) < len(plan.patients):
        name = f"{name} and {len(plan.patients) - len(others)} {REVIEWED}"
        licence = f"{licence}; the reviewed studies as their owner states"
    with_implants = plan.config.sampling.source_shares["implanted"] > 0
    return DataCard(
        name=f"{name} and {DRAWN}" if with_implants else name,
        licence=licence,
        citations=citations,
        patients={side: len(ids) for side, ids in sides.items()},
        slices={side: sum(slices[id] for id in ids) for side, ids in sides.items()},
        sha256=fingerprint(plan.patients),
        split_sha256=split_sha256(plan.split),
    )


def make_card(
    *,
    version: str,
    created_at: datetime,
    network: SegmentationNetwork,
    model: bytes,
    preprocessing: Preprocessing,
    points: Mapping[Structure, OperatingPoint],
    data: DataCard,
    figures: CardFigures,
    familiarity: OutOfDistributionCard | None = None,
) -> ModelCard:
    """The card of a version.

    Args:
        version: its name.
        created_at: when it was exported.
        network: that it was exported from.
        model: the bytes of the ONNX file.
        preprocessing: of the model.
        points: its operating points, by structure.
        data: from `describe_data`.
        figures: of the test patients.
        familiarity: the reference for detecting input unlike the training data.

    Returns:
        The card.
    """
    return ModelCard(
        version=version,
        created_at=created_at,
        network=network.title,
        parameters=network.parameter_count,
        sha256=sha256(model).hexdigest(),
        preprocessing=preprocessing,
        operating_points=dict(points),
        familiarity=familiarity,
        data=data,
        figures=dict(figures.figures),
        evaluation=dict(figures.evaluation),
        implanted=dict(figures.implanted),
        comparison=figures.comparison,
        git_revision=git_revision(),
        packages=packages(),
        intended_use="Research on the segmentation of focal lesions in axial brain MRI slices.",
        limits=[*_limits(data), *_COMMON_LIMITS],
        licence=data.licence,
    )


def save_card(folder: Path, card: ModelCard) -> None:
    """Write the card into a folder, as JSON and as Markdown.

    Args:
        folder: of the run or version; exists.
        card: to write.
    """
    (folder / CARD).write_text(card.model_dump_json(indent=2))
    (folder / MARKDOWN).write_text(_markdown(card))


def _markdown(card: ModelCard) -> str:
    """The card for people, under the headings of Mitchell et al., Model Cards for Model Reporting, FAT* 2019."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), undefined=jinja2.StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, keep_trailing_newline=True, autoescape=False,  # noqa: S701  # Markdown, not HTML
    )  # fmt: skip
    page: str = environment.get_template("model-card.md.j2").render(
        card=card, convention=EMPTY_CONVENTION, names=SEQUENCE_NAMES
    )
    return page


def describe_structure_data(
    gliomas: Sequence[Patient],
    studies: Sequence[Patient],
    split: Split,
    slices: Mapping[str, Sequence[BriscSlice]],
    inherited: Sequence[DataCard],
) -> DataCard:
    """Describe the data that core and whole were trained on, without naming a patient.

    Args:
        gliomas: patients whose whole is known.
        studies: whose core is known.
        split: of all of them.
        slices: of BRISC, whose core is known, by side; each counts as a separate patient, since none is named.
        inherited: the data of the versions whose networks are contained or were trained further.

    Returns:
        The description; the strictest licence of all sources holds. Counts are without inherited data.
    """
    sources = [_source(gliomas)] if gliomas else []
    if studies:
        sources.append((KNOWN_CORES, f"of {KNOWN_CORES}, as their owner states", []))
    if slices:
        sources.append(("BRISC 2025 (tumour on post-contrast T1, CC BY 4.0)", "", BRISC_CITATIONS))
    if slices or gliomas:
        sources.append((DRAWN, "", []))
    sources += [(data.name.replace(f" and {DRAWN}", f"; {DRAWN}"), data.licence, data.citations) for data in inherited]
    names, licences, citations = zip(*sources, strict=True)
    patients = [*gliomas, *studies]
    per_patient = {patient.id: len(patient.slices) for patient in patients}
    sides = {"train": split.train, "validation": split.validation, "test": split.test}
    return DataCard(
        name="; ".join(_distinct("; ".join(names).split("; "))),
        licence="; ".join(_distinct("; ".join(licences).split("; "))),
        citations=_distinct(chain.from_iterable(citations)),
        patients={side: len(ids) + len(slices.get(side, ())) for side, ids in sides.items()},
        slices={side: sum(per_patient[id] for id in ids) + len(slices.get(side, ())) for side, ids in sides.items()},
        sha256=sha256(f"{fingerprint(patients)} {slices!r}".encode()).hexdigest(),
        split_sha256=split_sha256(split),
    )


def _distinct(values: Iterable[str]) -> list[str]:
    """Without repeated and empty ones, in order."""
    return [value for value in dict.fromkeys(values) if value]


def _source(patients: Sequence[Patient]) -> tuple[str, str, list[str]]:
    if patients and all(patient.id.startswith("TCGA_") for patient in patients):
        return "TCGA lower-grade glioma (FLAIR abnormality)", "CC BY-NC-SA 4.0", LGG_CITATIONS
    if patients and all(patient.id.startswith("PHANTOM_") for patient in patients):
        return "metseg head phantoms", "Apache-2.0", []
    return "local data", "as its owner states; nothing is granted here", []


def _limits(data: DataCard) -> list[str]:
    has_reviewed = REVIEWED in data.name
    if "CC BY-NC-SA 4.0" in data.licence:
        learned = ["the FLAIR abnormality of adult lower-grade gliomas"]
        learned += ["other tumours on post-contrast T1"] if "BRISC" in data.name else []
        learned += ["metastases that were drawn into real heads"] if DRAWN in data.name else []
        learned += [each for each in (KNOWN_CORES, REVIEWED) if each in data.name]
        unseen = "" if has_reviewed or KNOWN_CORES in data.name else "; it has seen no real metastasis"
        return [
            f"It learned {' and '.join(learned)}{unseen}.",
            "Non-commercial use only, under the licence of its data.",
        ]
    if data.name.startswith("metseg head phantoms") and not has_reviewed:
        return ["It has seen drawn heads only; on real MRI it finds nothing reliable."]
    return []
