"""nnU-Net's own 3D full-resolution plan and the starter model, from three volumes of a study to its masks.

    uv run --no-project --with nnunetv2==2.8.1 python -m tests.bench.bench_nnunet

nnU-Net (Isensee et al., Nature Methods 2021) reads the data set, plans network and patches, and predicts, all with its
own code; the weights are random, which cost as much as trained ones. Both get as many threads as there are CPUs, and
take turns.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tests.bench import page
from tests.bench.studies import volume_files
from tests.bench.whole import Whole
from tests.unit.volumes import nifti

from metseg import phantom
from metseg.parallel import cpu_quota

CASE, DATASET = "mets_0001", "Dataset001_Metastases"
LABELS = np.array([0, 2, 1, 2], np.uint8)
"""A phantom's labels as 1, oedema, and 2, the core."""
OURS = "ours as served: core at 0.9 mm, whole at 1.8 mm, pictures and figures"
PLAN = "nnU-Net, 3d_fullres, without mirroring"

Files = Sequence[tuple[str, bytes]]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and write the table."""
    parser = argparse.ArgumentParser("bench_nnunet", description=__doc__)
    parser.add_argument("--rounds", type=int, default=2, help="default: %(default)s")
    options = parser.parse_args(arguments)
    torch.set_num_threads(cpu_quota())
    on = page.machine()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        head = phantom.head(5, slices=155, size_px=240, spacing_mm=(1.0, 1.0, 1.0))
        study = volume_files(head.volume.pixels, head.volume.affine)
        labels = nifti(LABELS[head.labels].transpose(2, 1, 0), head.volume.affine)
        plan, predict = _planned(folder, study, labels)
        calls = {OURS: _ours(folder, study), PLAN: predict}
        seconds: dict[str, list[float]] = {title: [] for title in calls}
        calls[OURS]()  # warms up
        for _ in range(options.rounds):
            for title, call in calls.items():
                began = time.perf_counter()
                call()
                seconds[title].append(time.perf_counter() - began)
    cells = [
        [title, page.spread(took), page.spread([one / mine for one, mine in zip(took, seconds[OURS], strict=True)])]
        for title, took in seconds.items()
    ]
    patch = "x".join(map(str, plan["patch_size"]))
    features = plan["architecture"]["arch_kwargs"]["features_per_stage"]
    notes = [
        "Three volumes of 155 slices of 240x240 at 1 mm, a drawn head with skull, from files to files, in turn; "
        f"threads: {cpu_quota()}, rounds: {options.rounds}. nnU-Net 2.8.1 planned patches of {patch} that overlap by "
        f"half, and {', '.join(map(str, features))} features. By default it also averages 8 mirrored predictions, "
        "which was not measured."
    ]
    columns = ["study of three volumes", "seconds", "times ours"]
    page.keep("nnunet", on, {"head": columns, "cells": cells, "notes": notes}, seconds)


def _ours(folder: Path, study: Files) -> Callable[[], object]:
    """The worker's own code on the study."""
    whole = Whole(folder / "ours")
    request = whole.upload(study)
    return lambda: whole(request)


def _planned(folder: Path, study: Files, labels: bytes) -> tuple[dict[str, Any], Callable[[], object]]:
    """nnU-Net's plan for a data set of this study, and its prediction of it."""
    for name in ("raw", "preprocessed", "results"):
        os.environ[f"nnUNet_{name}"] = str(folder / name)
    from nnunetv2.experiment_planning.dataset_fingerprint.fingerprint_extractor import DatasetFingerprintExtractor
    from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    described = _write_dataset(folder / "raw" / DATASET, study, labels)
    DatasetFingerprintExtractor(DATASET, num_processes=1).run()
    plans = PlansManager(ExperimentPlanner(DATASET).plan_experiment())
    configuration = plans.get_configuration("3d_fullres")
    outputs = plans.get_label_manager(described).num_segmentation_heads
    network = nnUNetTrainer.build_network_architecture(plans, configuration, len(study), outputs, False)
    predictor = nnUNetPredictor(use_mirroring=False, device=torch.device("cpu"), allow_tqdm=False)
    predictor.manual_initialization(
        network, plans, configuration, [network.state_dict()], described, "nnUNetTrainer", None
    )
    images = str(folder / "raw" / DATASET / "imagesTr")
    return configuration.configuration, lambda: predictor.predict_from_files_sequential(images, str(folder))


def _write_dataset(folder: Path, study: Files, labels: bytes) -> dict[str, Any]:
    """Write the study as a data set of nnU-Net; returns its description."""
    files = {f"imagesTr/{CASE}_{channel:04d}.nii.gz": content for channel, (_, content) in enumerate(study)}
    for name, content in {**files, f"labelsTr/{CASE}.nii.gz": labels}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    described = {
        "channel_names": {str(channel): name.removesuffix(".nii.gz") for channel, (name, _) in enumerate(study)},
        "labels": {"background": 0, "oedema": 1, "core": 2},
        "numTraining": 1,
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(described))
    return described


if __name__ == "__main__":
    main()
