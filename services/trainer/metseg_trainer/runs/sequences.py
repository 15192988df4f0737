"""The classifier of sequences: from public data to the file that inference reads."""

from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path

import numpy as np

from metseg.atomic_io import atomic_write_bytes
from metseg.inference import SEQUENCE_CLASSES, SequenceModel, SequenceModelCard
from metseg_trainer.data import Split, scan_folder, split_patients
from metseg_trainer.data.sequences import (
    Example,
    HeadSlice,
    glioma_slices,
    make_examples,
    phantom_slices,
    post_contrast_slices,
)
from metseg_trainer.export import sequence_classifier_to_onnx
from metseg_trainer.training import choose_limit, confusion, fit_sequence_classifier, predict_sequences

__all__ = ["format_confusion", "run_sequences"]

EVERY = {"train": 1, "validation": 2, "test": 2}
EVERY_BRISC = 2
"""Of how many slices one is used: neighbours are alike."""
DISTORTED = {"train": 3, "validation": 1, "test": 1}
"""Examples that each sequence of a slice gives, in addition to the plain one."""
PHANTOMS = {"train": 9, "validation": 3}
FIRST_PHANTOM = {"train": 0, "validation": 100}
DATA = (
    "TCGA-LGG slices of Buda et al. 2019, CC BY-NC-SA 4.0, research only: pre-contrast T1, FLAIR and post-contrast T1",
    "BRISC 2025 of Fateh et al. 2026, CC BY 4.0: post-contrast T1",
    "phantoms of metseg: the same three sequences",
    "imitations of T2 and of other pictures, made from the slices above",
)


def run_sequences(lgg: Path, brisc: Path, out: Path, seed: int) -> str:
    """Train the classifier of sequences, write it, and measure it once on test patients.

    Args:
        lgg: the folder of glioma patients.
        brisc: the folder of BRISC.
        out: the file to write.
        seed: of the split and of all draws.

    Returns:
        What was taken for what, on validation and on test patients.
    """
    patients, _ = scan_folder(lgg)
    split = split_patients(patients, seed)

    def examples(side: str) -> Iterator[Example]:
        ids = set(_ids(split, side))
        chosen = [each for each in patients if each.id in ids]
        slices: list[Iterator[HeadSlice]] = [islice(glioma_slices([each]), 0, None, EVERY[side]) for each in chosen]
        if side != "test":
            slices.append(islice(post_contrast_slices(brisc, side), 0, None, EVERY_BRISC))
            slices.append(phantom_slices(PHANTOMS[side], FIRST_PHANTOM[side]))
        return make_examples(chain.from_iterable(slices), seed, DISTORTED[side])

    validation = list(examples("validation"))
    network = fit_sequence_classifier(list(examples("train")), seed)
    limit = choose_limit(predict_sequences(network, validation), validation)
    card = SequenceModelCard(slice_limit=limit, study_limit=limit, data=list(DATA))
    atomic_write_bytes(out, sequence_classifier_to_onnx(network, card))
    written = SequenceModel(out.read_bytes())
    sides = {"Validation patients": validation, "Test patients": list(examples("test"))}
    return "\n\n".join(f"{title}\n{format_confusion(written, found)}" for title, found in sides.items())


def _ids(split: Split, side: str) -> Sequence[str]:
    return {"train": split.train, "validation": split.validation, "test": split.test}[side]


def format_confusion(model: SequenceModel, examples: Sequence[Example]) -> str:
    """A Markdown table of what single slices were taken for.

    Args:
        model: the classifier.
        examples: of one side.

    Returns:
        A row for each class and variant, in per cent.
    """
    columns = (*SEQUENCE_CLASSES, "unsure")
    lines = [f"| is | slices | {' | '.join(columns)} |", f"| --- | ---: | {' | '.join('---:' for _ in columns)} |"]
    for variant in dict.fromkeys(one.variant for one in examples):
        chosen = [one for one in examples if one.variant == variant]
        probabilities = np.exp(model.log_probabilities(np.stack([one.head for one in chosen]).astype(np.float32)))
        for name, taken in confusion(probabilities, chosen, model.card.slice_limit).items():
            if total := taken.total():
                shares = (f"{100 * taken[column] / total:.1f}" for column in columns)
                lines.append(f"| {name}, {variant} | {total} | {' | '.join(shares)} |")
    return "\n".join(lines)
