"""labels.yaml: the meaning of a folder's labels, and its file names if the folder is in no known layout.

core: [1, 3]                          # labels or names; `any` is every label but 0; `unknown`
whole: [1, 2, 3]                      # core and FLAIR abnormality
ignore: [4]                           # labels that are neither
files:                                # only where no known layout fits
  post: "{case}/t1_gd.nii.gz"         # pre, flair, post; {case} is the study, {person} its patient, * any part
  flair: "{case}/flair.nii.gz"
  mask: "{case}/lesions.nii.gz"       # a label map; or `core` and `whole`, a mask each
spacing_mm: [1.0, 0.94, 0.94]         # between slices, rows, columns; of images that store none
"""

import re
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
import yaml  # type: ignore[import-untyped]

from metseg.contracts import Role
from metseg.errors import DatasetError
from metseg.formats import natural_key
from metseg.imaging import ROLES
from metseg_trainer.data.layouts.files import VOLUME_SUFFIXES, Cases, list_files, subset_of
from metseg_trainer.data.layouts.studies import (
    FolderContents,
    ImageFiles,
    Labels,
    StructureLabels,
    TruthFiles,
)

__all__ = ["LABELS_FILE", "LabelsFile", "find_named_files", "read_labels_file"]

LABELS_FILE = "labels.yaml"
ROLE_NAMES: dict[str, Role] = {role: role for role in ROLES}
Millimetres = Annotated[float, pydantic.Field(gt=0, le=100)]
Meaning = list[int | str] | Literal["any", "unknown"] | None


class LabelsFile(pydantic.BaseModel):
    """The content of a labels.yaml."""

    model_config = pydantic.ConfigDict(extra="forbid", strict=True)

    core: Meaning = None
    whole: Meaning = None
    ignore: list[int | str] = []
    files: dict[Literal["pre", "flair", "post", "mask", "core", "whole"], str] = {}
    spacing_mm: Annotated[list[Millimetres], pydantic.Field(min_length=3, max_length=3)] | None = None

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> "LabelsFile":
        if isinstance(self.core, list) and isinstance(self.whole, list) and not {*self.core} <= {*self.whole}:
            raise ValueError("whole lacks labels of core, but the core is part of the whole")
        if self.files and not self.files.keys() & {"pre", "flair", "post"}:
            raise ValueError("files names no image: add pre, flair or post")
        if self.files and not self.files.keys() & {"mask", "core", "whole"}:
            raise ValueError("files names no mask: add mask, core or whole")
        if any("{case}" not in pattern for pattern in self.files.values()):
            raise ValueError("a pattern of files lacks {case}")
        return self

    def applied(self, labels: StructureLabels) -> StructureLabels:
        """The meaning of labels, overridden by this file."""
        if self.core is None and self.whole is None and not self.ignore:
            return labels
        core = labels.core if self.core is None else _labels(self.core)
        whole = labels.whole if self.whole is None else _labels(self.whole)
        return StructureLabels(
            core, whole, labels.ignored | frozenset(self.ignore), others_ignored=labels.others_ignored
        )

    def applied_to(self, found: FolderContents) -> FolderContents:
        """The contents of a folder, with labels as in this file."""
        found.slices = [replace(study, labels=self.applied(study.labels)) for study in found.slices]
        found.volumes = [replace(study, labels=self.applied(study.labels)) for study in found.volumes]
        return found


def read_labels_file(folder: Path) -> LabelsFile:
    """The labels.yaml of a folder; an empty one if there is none.

    Raises:
        DatasetError: the file cannot be read, or is invalid.
    """
    path = folder / LABELS_FILE
    if not path.is_file():
        return LabelsFile()
    try:
        content: Any = yaml.safe_load(path.read_text())
        return LabelsFile.model_validate({} if content is None else content)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DatasetError(f"{path} cannot be read as YAML; see docs/data.md for what it holds.") from error
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"][:2])
        raise DatasetError(f"{path}: {f'{place}: ' if place else ''}{first['msg']}.") from error


def find_named_files(folder: Path) -> FolderContents | None:
    """The studies that match the patterns of a labels.yaml; None if it has none."""
    content = read_labels_file(folder)
    if not content.files:
        return None
    patterns: dict[str, re.Pattern[str]] = {what: _pattern(pattern) for what, pattern in content.files.items()}
    matched: dict[tuple[str, str], list[Path]] = {}
    cases = Cases()
    for path in list_files(folder):
        name = path.relative_to(folder).as_posix()
        for what, pattern in patterns.items():
            if (match := pattern.fullmatch(name)) is not None:
                matched.setdefault((match["case"], what), []).append(path)
                if person := match.groupdict().get("person"):
                    cases[match["case"]].person = person
    for (id, what), paths in matched.items():
        case = cases[id]
        case.subset = subset_of(paths[0].relative_to(folder).parts[:-1])
        paths.sort(key=lambda path: natural_key(path.name))
        if what in ROLE_NAMES:
            case.images[ROLE_NAMES[what]] = ImageFiles(tuple(paths))
        else:
            stored = "volume" if paths[0].name.lower().endswith(VOLUME_SUFFIXES) else "slices"
            case.truth.append(TruthFiles(tuple(paths), stored, None if what == "mask" else what))  # type: ignore[arg-type]
    found = cases.contents("files named by labels.yaml", _labels_of_masks(content))
    if found is None:
        raise DatasetError(f"No file in {folder} fits the patterns of its labels.yaml.")
    if content.spacing_mm is not None:
        between, row, column = content.spacing_mm
        found.volumes = [replace(study, spacing_mm=(between, row, column)) for study in found.volumes]
    return found


def _labels_of_masks(content: LabelsFile) -> StructureLabels:
    """The meaning of each structure's masks; that of a label map is in `core` and `whole`."""
    core: Labels = frozenset({"core"}) if "core" in content.files else None
    whole: Labels = frozenset({"core", "whole"}) if "whole" in content.files else None
    if "mask" not in content.files or content.core is not None or content.whole is not None:
        return StructureLabels(core, whole)
    return StructureLabels(core, whole, question="labels.yaml names a mask but not what its labels mean")


def _labels(meaning: Meaning) -> Labels:
    if meaning is None or meaning == "unknown":
        return None
    return "any" if meaning == "any" else frozenset(meaning)


def _pattern(text: str) -> re.Pattern[str]:
    """A pattern as a regular expression: {case} is the study, {person} its patient, * any part of one name."""
    expression, seen = "", set[str]()
    for piece in re.split(r"(\{case\}|\{person\}|\*)", text):
        if piece in {"{case}", "{person}"}:
            group = piece.strip("{}")
            expression += f"(?P={group})" if group in seen else f"(?P<{group}>.+?)"
            seen.add(group)
        else:
            expression += "[^/]*" if piece == "*" else re.escape(piece)
    return re.compile(expression)
