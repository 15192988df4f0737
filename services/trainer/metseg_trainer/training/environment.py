"""The environment of a training: revision of the code, versions of packages, processor."""

import os
import platform
import shutil
import subprocess
from importlib.metadata import version

import torch

__all__ = ["environment", "git_revision", "packages"]

PACKAGES = ("torch", "albumentations", "opencv-python-headless", "numpy", "onnx", "onnxruntime")


def environment() -> dict[str, str | int]:
    """The environment of this process."""
    return {
        "python": platform.python_version(),
        **packages(),
        "processor": torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine(),
        "threads": torch.get_num_threads(),
    }


def packages() -> dict[str, str]:
    """The versions of the packages that train and export."""
    return {package: version(package) for package in PACKAGES}


def git_revision() -> str:
    """The revision of the code: the image's, or the checkout's; `unknown` without both."""
    if revision := os.environ.get("GIT_REVISION"):
        return revision
    git = shutil.which("git")
    if git is None:
        return "unknown"
    asked = subprocess.run([git, "rev-parse", "HEAD"], capture_output=True, text=True, check=False)  # noqa: S603
    return asked.stdout.strip() if asked.returncode == 0 else "unknown"
