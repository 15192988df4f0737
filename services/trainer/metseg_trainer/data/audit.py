"""What a training folder holds and what of it was left out, as text and as JSON."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

__all__ = ["Audit"]


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
        unusable_patients: patients left out whole, and why.
        copies: slices of folder trees that occur more than once, counted once.
        notes: sentences that a reader of the results should know.
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

    def text(self) -> str:
        """The audit for a terminal, at most ten names of each kind."""
        sites = ", ".join(f"{name} {count}" for name, count in self.sites.items())
        lines = [
            f"{self.patients} patients ({sites})",
            f"{self.slices} slices, {self.lesion_slices} of them with a lesion",
        ]
        if self.copies:
            lines.append(f"{self.copies} slices lie in the folder more than once and count once")
        lines += _listed("images without a mask, left out", self.images_without_mask)
        lines += _listed("masks without an image, left out", self.masks_without_image)
        lines += _listed("unreadable files, left out", [f"{name}: {why}" for name, why in self.unreadable])
        lines += _listed("masks of another size, left out", [f"{name}: {why}" for name, why in self.shape_mismatch])
        lines += _listed("patients that cannot be used", [f"{name}: {why}" for name, why in self.unusable_patients])
        return "\n".join([*lines, *(f"Note: {note}." for note in self.notes)])

    def left_out(self) -> str:
        """Why nothing could be used, in a phrase."""
        counts = {
            "images without a mask": len(self.images_without_mask),
            "masks without an image": len(self.masks_without_image),
            "unreadable files": len(self.unreadable),
            "masks of another size": len(self.shape_mismatch),
            "unusable patients": len(self.unusable_patients),
        }
        reasons = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
        return reasons or "it holds no image with a mask"

    def to_json(self) -> str:
        """The whole audit with every name."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n"


def _listed(title: str, names: Sequence[str], limit: int = 10) -> list[str]:
    if not names:
        return []
    rest = [f"  ... and {len(names) - limit} more"] if len(names) > limit else []
    return [f"{len(names)} {title}:", *(f"  {name}" for name in names[:limit]), *rest]
