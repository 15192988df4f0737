"""The usable contents of a training folder and everything left out, as text and as JSON."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field

__all__ = ["CORE_ONLY", "Audit", "structure_counts"]

MAX_LISTED = 10
CORE_ONLY = "only the core is known, which `structures --studies` learns"


@dataclass(frozen=True)
class Audit:
    """What was found and what was left out; files are named by their path below the folder.

    Attributes:
        patients: with at least one usable slice.
        slices: usable pairs of image and mask.
        lesion_slices: of these, how many show a lesion.
        sites: patients by site.
        images_without_mask: left out.
        masks_without_image: left out.
        unreadable: files that cannot be decoded, and why; their slices are left out.
        shape_mismatch: masks of another size than their image, with both sizes; left out.
        unusable_patients: patients left out entirely, and why.
        copies: slices of folder trees that occur more than once, counted once.
        notes: sentences that a reader of the results should know.
        layout: the recognised layout.
        structures: studies by known structures: `core and whole`, `core`, `whole`.
        core_only: studies left out of training because only their core is known.
        healthy: studies whose masks are empty.
        labels: studies by label that occurs in their masks.
        grids: studies by size and spacing.
        sequences: studies by sequence that they have.
        left_out_files: studies by kind of file that is not used.
        remarks: studies by what had to be done to their grids or sequences.
    """

    patients: int
    slices: int
    lesion_slices: int
    sites: dict[str, int]
    images_without_mask: tuple[str, ...]
    masks_without_image: tuple[str, ...]
    unreadable: tuple[tuple[str, str], ...]
    shape_mismatch: tuple[tuple[str, str], ...]
    unusable_patients: tuple[tuple[str, str], ...]
    copies: int
    notes: tuple[str, ...]
    layout: str
    structures: dict[str, int]
    core_only: tuple[str, ...] = ()
    healthy: int = 0
    labels: dict[str, int] = field(default_factory=dict)
    grids: dict[str, int] = field(default_factory=dict)
    sequences: dict[str, int] = field(default_factory=dict)
    left_out_files: dict[str, int] = field(default_factory=dict)
    remarks: dict[str, int] = field(default_factory=dict)

    def text(self) -> str:
        """The audit for a terminal, at most ten names of each kind."""
        sites = ", ".join(f"{name} {count}" for name, count in self.sites.items())
        lines = [
            f"Layout: {self.layout}",
            f"{self.patients} patients ({sites})",
            f"{self.slices} slices, {self.lesion_slices} of them with a lesion",
        ]
        lines += _counted("known structures", self.structures)
        lines += _counted("labels in the masks", self.labels)
        lines += _counted("sequences", self.sequences)
        lines += _counted("grids", self.grids)
        if self.healthy:
            lines.append(f"{self.healthy} studies have an empty mask and count as healthy")
        if self.copies:
            lines.append(f"{self.copies} slices are in the folder more than once and count once")
        lines += _listed("images without a mask, left out", self.images_without_mask)
        lines += _listed("masks without an image, left out", self.masks_without_image)
        lines += _listed("unreadable files, left out", [f"{name}: {why}" for name, why in self.unreadable])
        lines += _listed("masks of another size, left out", [f"{name}: {why}" for name, why in self.shape_mismatch])
        lines += _listed("patients that cannot be used", [f"{name}: {why}" for name, why in self.unusable_patients])
        lines += _listed(f"studies left out of training: {CORE_ONLY}", self.core_only)
        lines += _counted("files and sequences that are not used", self.left_out_files)
        lines += _counted("remarks", self.remarks)
        return "\n".join([*lines, *(f"Note: {note}." for note in self.notes)])

    def left_out(self) -> str:
        """The reason why nothing could be used, in a phrase."""
        counts = {
            "images without a mask": len(self.images_without_mask),
            "masks without an image": len(self.masks_without_image),
            "unreadable files": len(self.unreadable),
            "masks of another size": len(self.shape_mismatch),
            "unusable patients": len(self.unusable_patients),
            f"studies of which {CORE_ONLY}": len(self.core_only),
        }
        reasons = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
        first = f" (the first: {self.unusable_patients[0][1]})" if self.unusable_patients else ""
        return f"{reasons}{first}" if reasons else "it holds no image with a mask"

    def to_json(self) -> str:
        """The whole audit with every name."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n"


def structure_counts(known: Iterable[tuple[bool, bool]]) -> dict[str, int]:
    """Studies by known structures.

    Args:
        known: for each study, whether its core and whether its whole is known.
    """
    names = {(True, True): "core and whole", (True, False): "core", (False, True): "whole"}
    return dict(sorted(Counter(names[each] for each in known if any(each)).items()))


def _counted(title: str, counts: Mapping[str, int]) -> list[str]:
    """Studies by kind, one line each."""
    return [f"{title}:", *_shortened([f"{name}: {count}" for name, count in counts.items()])] if counts else []


def _listed(title: str, names: Sequence[str]) -> list[str]:
    return [f"{len(names)} {title}:", *_shortened(names)] if names else []


def _shortened(lines: Sequence[str]) -> list[str]:
    """The first lines, and how many more there are."""
    rest = [f"  ... and {len(lines) - MAX_LISTED} more"] if len(lines) > MAX_LISTED else []
    return [*(f"  {line}" for line in lines[:MAX_LISTED]), *rest]
