"""Each extra installs everything that its part imports: checked with every other distribution hidden."""

import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "shared/pyproject.toml").read_text())["project"]
PAGE = tomllib.loads((ROOT / "services/ui/pyproject.toml").read_text())["project"]
HIDE = """
import sys
HIDDEN = set({hidden!r})
class Hide:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in HIDDEN:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Hide())
"""
LOCAL = """
import io
from dataclasses import replace
import numpy as np
import metseg.cli.main, metseg.cli.local, metseg.client
from metseg.formats import Upload, dicom, read_volume
from metseg.imaging import label_lesions, lesions
from metseg.phantom import head
from metseg.phantom.dicom import SERIES_PARAMETERS, series_files
from metseg.settings import Limits
phantom = head(5, slices=8, size_px=64)
files = {}
for role, shift in (("flair", 0.0), ("post", 0.5)):
    affine = phantom.volume.affine.copy()
    affine[0, 3] += shift
    files |= series_files(phantom.volume.pixels[..., 1].astype(np.uint16), affine, SERIES_PARAMETERS[role])
volume = read_volume([Upload(name, io.BytesIO(content)) for name, content in files.items()], Limits())
mask = phantom.mask
found = lesions.measure(mask, volume.spacing_mm, mask.astype(np.float32))
made, warnings = dicom.write_results(volume, label_lesions(mask), found, dicom.AlgorithmRun("n", "v", "j"))
assert len(made) == 2, warnings
"""
ALL_OF_THE_PAGE = """
import importlib, pkgutil, metseg_ui
for module in pkgutil.walk_packages(metseg_ui.__path__, "metseg_ui."):
    importlib.import_module(module.name)
"""
PARTS = {
    "client": "import metseg.cli.main, metseg.client",
    "imaging": "import metseg.imaging, metseg.formats.reader, metseg.results",
    "onnx,imaging": "import metseg.inference.predictor",
    "store": "import metseg.storage",
    "local": LOCAL,
}


def needed(requirements, extras=("",)):
    """The distributions that requirements install, with their dependencies."""
    found, open_ = set(), [(Requirement(each), extras) for each in requirements]
    seen = set()
    while open_:
        requirement, of = open_.pop()
        if requirement.marker and not any(requirement.marker.evaluate({"extra": extra}) for extra in of):
            continue
        name = canonicalize_name(requirement.name)
        more = tuple(sorted(requirement.extras)) or ("",)
        if (name, more) in seen:
            continue
        seen.add((name, more))
        if name == "metseg":
            open_ += [(Requirement(each), ("",)) for extra in more for each in PROJECT["optional-dependencies"][extra]]
            continue
        found.add(name)
        open_ += [(Requirement(each), ("", *more)) for each in requires(name) or []]
    return found


@pytest.mark.parametrize("extra", PARTS)
def test_an_extra_installs_everything_that_its_part_imports(extra):
    run_with_only([*PROJECT["dependencies"], f"metseg[{extra}]"], PARTS[extra])


def test_the_page_needs_neither_opencv_nor_scipy_where_its_examples_are_drawn():
    assert not {"opencv-python-headless", "scipy"} & needed([*PROJECT["dependencies"], *PAGE["dependencies"]])
    run_with_only([*PROJECT["dependencies"], *PAGE["dependencies"]], ALL_OF_THE_PAGE)


def run_with_only(requirements, code):
    """Run code in a process that can import nothing but these requirements, and ours."""
    allowed = needed(requirements)
    hidden = {
        module
        for module, distributions in packages_distributions().items()
        if not {canonicalize_name(each) for each in distributions} & allowed and not module.startswith("metseg")
    }
    code = HIDE.format(hidden=sorted(hidden)) + code
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-2000:]
