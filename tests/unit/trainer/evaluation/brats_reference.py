"""Write `brats_reference.json`: what BraTS-METS's own tools say of the shared cases.

They need older libraries than this project, so they run in a separate environment, from this folder:
`uv run --no-project --with BraTS_evaluation==0.0.10 --with panoptica==2.1.7 python brats_reference.py`
"""

import csv
import json
import tempfile
from importlib.resources import files
from pathlib import Path

import nibabel
import numpy as np
from brats_evaluation.evaluation import evaluate_single_exam
from brats_evaluation.metrics_parser import parse_mets_results
from lesion_cases import CASES, lesion_case
from panoptica import Panoptica_Evaluator

TUMOUR_CORE = 3
FIELDS = (
    "all_instance_tp_tc",
    "all_instance_fn_tc",
    "all_instance_fp_tc",
    "lesionwise_dsc_mean_tc",
    "lesionwise_nsd_mean_tc",
)


def main() -> None:
    config = files("brats_evaluation").joinpath("configs", "config_mets.yaml")
    evaluator = Panoptica_Evaluator.load_from_config(str(config))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        metrics = []
        for number in range(CASES):
            paths = [folder / f"{number}-{kind}.nii.gz" for kind in ("truth", "predicted")]
            for path, mask in zip(paths, lesion_case(number), strict=True):
                nibabel.save(nibabel.Nifti1Image(mask.astype(np.uint8) * TUMOUR_CORE, np.eye(4)), path)
            metrics.append(evaluate_single_exam(str(paths[1]), str(paths[0]), str(number), evaluator))
        (folder / "summary.json").write_text(json.dumps({"metrics": metrics, "missings": []}))
        parse_mets_results(str(folder / "summary.json"), 20.0, 0.1, str(folder / "table.csv"))
        with (folder / "table.csv").open(newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["subject_id"].isdecimal()]
    found = [[float(row[field]) if row[field] else None for field in FIELDS] for row in rows]
    Path("brats_reference.json").write_text(json.dumps(found, indent=0) + "\n")


if __name__ == "__main__":
    main()
