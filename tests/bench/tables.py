"""Shared by the benches that train and evaluate: their options, and a table as JSON and Markdown."""

import argparse
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.markdown_tables import rows

from metseg.contracts import LesionMetrics
from metseg.parallel import cpu_quota
from metseg_trainer.training import PRESETS

__all__ = ["found", "parser", "rows", "write"]

FINDABLE_BELOW = "below 6 mm"


def parser(name: str, description: str | None) -> argparse.ArgumentParser:
    """The options of every such bench; `--folder` defaults to the user's cache."""
    options = argparse.ArgumentParser(name, description=description)
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "metseg" / name.replace("_", "-")
    options.add_argument("--data", type=Path, default=Path("data"), help="slices and masks (default: %(default)s)")
    options.add_argument("--folder", type=Path, default=cache, help="of checkpoints and figures (default: %(default)s)")
    options.add_argument("--preset", choices=PRESETS, default="standard", help="default: %(default)s")
    options.add_argument("--epochs", type=int, help="other than the preset's")
    options.add_argument("--threads", type=int, default=cpu_quota(), help="default: %(default)s")
    options.add_argument("--table", type=Path, help="where the table is written as well")
    return options


def found(lesions: LesionMetrics) -> dict[str, float]:
    """Of drawn metastases of 6 mm and more: their number, the share found, false positives per patient."""
    strata = [figures for name, figures in lesions.by_diameter.items() if name != FINDABLE_BELOW]
    count = sum(figures.lesions for figures in strata)
    return {
        "lesions": count,
        "sensitivity": sum(figures.lesions * figures.sensitivity for figures in strata) / count if count else 0.0,
        "false_positives": lesions.false_positives.mean,
    }


def write(report: dict[str, Any], markdown: Callable[[dict[str, Any]], str], name: str, *folders: Path | None) -> None:
    """Print the table and write it as `<name>.json` and `<name>.md` into each folder."""
    for folder in {folder for folder in folders if folder is not None}:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.json").write_text(json.dumps(report, indent=2) + "\n")
        (folder / f"{name}.md").write_text(markdown(report))
    print(markdown(report))
