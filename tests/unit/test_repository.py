"""The repository's promises: its commands, its lock files, and what it must never contain."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCKS = sorted([*ROOT.glob("requirements/*.lock"), *ROOT.glob("services/*/requirements*.lock")])
PACKAGES = sorted([ROOT / "shared/pyproject.toml", *ROOT.glob("services/*/pyproject.toml")])


def tracked() -> list[Path]:
    """The files that git tracks, or would add; outside a clone, all files."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=False)
    if done.returncode:
        return [path for path in ROOT.rglob("*") if path.is_file() and not path.is_relative_to(ROOT / ".git")]
    return [path for name in done.stdout.decode().split("\0") if name and (path := ROOT / name).is_file()]


def targets() -> set[str]:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    return set(re.findall(r"^([a-z][a-z0-9-]*):.*## ", makefile, re.MULTILINE))


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", ".ci/run"])
def test_every_documented_make_command_exists(name: str) -> None:
    said = re.findall(r"`?\bmake ((?:[a-z][a-z0-9-]*)(?: [a-z][a-z0-9-]*)*)(?=[`\s\"]|$)", commands(ROOT / name))
    wanted = {target for line in said for target in line.split()}
    assert wanted, f"{name} names no make target"
    assert wanted <= targets()


def commands(path: Path) -> str:
    """The commands in a text: code of a Markdown file, lines of a script except comments."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        return "\n".join(re.findall(r"```.*?```|`[^`\n]+`", text, re.DOTALL))
    return "\n".join(line for line in text.splitlines() if re.match(r"\s*section ", line))


def test_make_help_describes_every_target() -> None:
    done = subprocess.run(["make", "help"], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    plain = re.sub(r"\x1b\[\d*m", "", done.stdout)
    for target in targets():
        assert re.search(rf"^\s+{target}\s+\S", plain, re.MULTILINE)


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_lock_pins_everything_by_hash_and_names_no_index(lock: Path) -> None:
    lines = [line for line in lock.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    assert not [line for line in lines if "://" in line or line.lstrip().startswith(("-i", "--index", "--extra", "-f"))]
    pins = [line for line in lines if not line.startswith(" ")]
    assert pins
    assert [line for line in pins if not re.fullmatch(r"[a-z0-9.-]+(\[[a-z,-]+\])?==\S+( ; .*)? \\", line)] == []
    assert all(after.lstrip().startswith("--hash=sha256:") for line, after in pairwise(lines) if line in pins)
    assert not [line for line in pins if line.startswith("torch==")], "torch's CPU wheel has another hash"


def test_every_service_has_its_lock() -> None:
    assert len(PACKAGES) == 5
    for package in PACKAGES:
        assert package.parent.name == "shared" or (package.parent / "requirements.lock").is_file()


def test_the_locks_agree_on_every_version() -> None:
    """Tests and images run the same versions."""
    tested = pinned(ROOT / "requirements/dev.lock")
    for lock in LOCKS:
        here = {name: version for name, version in pinned(lock).items() if name in tested}
        assert {name: version for name, version in here.items() if tested[name] != version} == {}, lock.name


def pinned(lock: Path) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9.-]+)(?:\[[a-z,-]+\])?==(\S+)", lock.read_text(encoding="utf-8"), re.MULTILINE))


def test_all_packages_require_the_same_python() -> None:
    wanted = {tomllib.loads(path.read_text(encoding="utf-8"))["project"]["requires-python"] for path in PACKAGES}
    assert wanted == {">=3.11,<3.12"}


def test_every_package_builds_a_complete_wheel(tmp_path: Path) -> None:
    sources = []
    for package in PACKAGES:  # built from copies: a build writes into its source folder
        source = tmp_path / package.parent.name
        shutil.copytree(package.parent, source, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info", "build"))
        sources.append(source)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--wheel-dir", str(tmp_path), *map(str, sources)], check=True)
    packed = {name for wheel in tmp_path.glob("*.whl") for name in zipfile.ZipFile(wheel).namelist()}
    for source in sources:
        [package] = [path for path in source.iterdir() if path.is_dir() and re.fullmatch("metseg[a-z_]*", path.name)]
        wanted = {str(path.relative_to(source)) for path in package.rglob("*") if path.is_file()}
        assert wanted - packed == set(), source.name


def test_the_repository_contains_no_patient_image_and_no_local_path() -> None:
    scans = {".tif", ".tiff", ".dcm", ".nii", ".jxl", ".gz", ".npy", ".npz", ".whl"}
    machine = re.compile(r"(?<![\w.$}-])/(?:work|opt)/[a-z]")
    for path in tracked():
        assert path.suffix.lower() not in scans, path
        if path.suffix in {".py", ".md", ".toml", ".yml", ".yaml", ".txt", ".lock", ".in", ".json", ""}:
            assert not machine.search(path.read_text(encoding="utf-8", errors="replace")), path


def test_the_licence_is_the_apache_licence() -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text


def imported_modules(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}


@pytest.mark.parametrize(("package", "root"), [("metseg", "shared"), ("metseg_trainer", "services/trainer")])
def test_names_are_imported_from_packages_not_their_modules(package: str, root: str) -> None:
    around = []
    for path in [*ROOT.glob("shared/metseg/**/*.py"), *ROOT.glob("services/*/metseg_*/**/*.py")]:
        for name in imported_modules(path):
            top, *rest = name.split(".")
            inside = top == package and len(rest) > 1 and path.is_relative_to(ROOT / root / top / rest[0])
            if top == package and len(rest) > 1 and not inside and not (ROOT / root / name.replace(".", "/")).is_dir():
                around.append(f"{path.relative_to(ROOT)}: {name}")
    assert not around
