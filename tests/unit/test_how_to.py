"""The Python in docs/how-to-debug-a-shifted-mask.md runs, and finds no shift."""

import re
from pathlib import Path

import nibabel
import numpy as np
import pytest

from metseg import phantom

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/how-to-debug-a-shifted-mask.md"


def test_a_block_survives_preprocessing_in_place(tmp_path, monkeypatch, capsys):
    (tmp_path / "infra").symlink_to(ROOT / "infra")
    monkeypatch.chdir(tmp_path)
    flair = phantom.head(3, slices=6, lesions=1).volume.pixels[..., 1]
    affine = np.diag([0.7, 0.7, 5.0, 1.0])
    nibabel.save(nibabel.Nifti1Image(flair.transpose(2, 1, 0)[::-1, ::-1], affine), "scan.nii.gz")
    [body] = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    exec(compile(body, PAGE.name, "exec"), {})
    moved = [float(number) for number in re.findall(r"-?\d+\.\d*(?:e-?\d+)?", capsys.readouterr().out)]
    assert len(moved) == 3
    assert moved == pytest.approx([0, 0, 0], abs=0.5)
