"""What a worker's process takes at its peak is what `imaging.memory` says before the study is accepted, or less."""

import re
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest

from metseg import phantom
from metseg.formats import Upload, inspect_upload
from metseg.imaging import memory
from metseg.settings import MIB, Limits

pytestmark = pytest.mark.slow
SLICES, SIDE_PX = 64, 384
NAMES = ("flair.nii", "t1.nii", "t1c.nii")
CHILD = """
import re, sys, tempfile
from pathlib import Path
from tests.bench.whole import Whole
from metseg.jobs import JobInputs, process
from metseg.settings import Limits

def status_bytes(name):
    return 1024 * int(re.search(name + r":\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

def run(whole, files):
    request = whole.upload(files).model_copy(update={"uncertainty": sys.argv[1] == "True", "sequence": "flair"})
    with JobInputs.fetch(request, whole._store, whole._models) as inputs:
        process(request, inputs, Limits(), lambda done, total: None)

with tempfile.TemporaryDirectory() as folder:
    whole = Whole(Path(folder))
    run(whole, [("small.nii", Path(sys.argv[2]).read_bytes())])
    files = [(Path(name).name, Path(name).read_bytes()) for name in sys.argv[3:]]
    Path("/proc/self/clear_refs").write_text("5")
    before = status_bytes("VmRSS")
    run(whole, files)
    print("grown", status_bytes("VmHWM") - before)
"""


def nifti(folder: Path, name: str, slices: int, dtype: str, spacing_mm: float, seed: int) -> Path:
    head = phantom.head(seed, slices=4, size_px=128, lesions=2)
    grey = np.repeat(np.repeat(head.volume.pixels[..., 1], SIDE_PX // 128, axis=1), SIDE_PX // 128, axis=2)
    grey = np.resize(grey, (slices, SIDE_PX, SIDE_PX)).astype(dtype)
    affine = np.diag([-spacing_mm, -spacing_mm, 3, 1])
    path = folder / name
    path.write_bytes(nibabel.Nifti1Image(grey.T, affine).to_bytes())
    return path


@pytest.mark.parametrize(
    ("dtype", "files", "spacing_mm", "uncertainty"),
    [
        ("int16", 1, 0.5, False),
        ("int16", 3, 0.5, False),
        ("int16", 1, 0.5, True),
    ],
)
def test_the_peak_of_a_worker_is_within_what_was_announced(tmp_path, dtype, files, spacing_mm, uncertainty):
    small = nifti(tmp_path, "small.nii", 2, dtype, spacing_mm, 0)
    names = NAMES[:files] if files > 1 else ("scan.nii",)
    paths = [nifti(tmp_path, name, SLICES, dtype, spacing_mm, seed) for seed, name in enumerate(names)]
    opened = [Upload(path.name, path.open("rb")) for path in paths]
    announced = memory.peak_bytes(inspect_upload(opened, Limits()).size, uncertainty=uncertainty)
    for each in opened:
        each.stream.close()
    arguments = [str(uncertainty), str(small), *map(str, paths)]
    ended = subprocess.run(
        [sys.executable, "-c", CHILD, *arguments], capture_output=True, text=True, check=False, timeout=280
    )
    assert ended.returncode == 0, ended.stderr
    grown = int(re.search(r"grown (\d+)", ended.stdout)[1])
    study = announced - memory.PROCESSES_BYTES
    print(f"{dtype} x{files} {spacing_mm} mm {uncertainty}: {grown / MIB:.0f} of {study / MIB:.0f} MiB")
    assert grown <= study + 32 * MIB
    assert grown > study / 4, "the formula is not out of all proportion"
