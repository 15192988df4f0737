"""What the page lists, as pure functions: results and cards in; table rows and sentences out."""

import numpy as np
import numpy.typing as npt

from metseg.contracts import Lesion, ModelCard, Result
from metseg.imaging import CHANNELS

Row = dict[str, str | int | float | None]
Pixels = npt.NDArray[np.uint8]

NETWORKS = {"nested-unet": "Nested U-Net (U-Net++)", "attention-unet": "Attention U-Net"}


def sequences(pixels: Pixels) -> tuple[str, ...]:
    """The sequences that a slice really has: one where a grey image was copied to all channels."""
    if all(np.array_equal(pixels[:, :, 0], pixels[:, :, other]) for other in (1, 2)):
        return ("Image",)
    return tuple(name.removesuffix("-contrast").replace("p", "P", 1) for name in CHANNELS)


def lesion_rows(result: Result) -> list[Row]:
    """One table row a lesion, largest first: in millimetres where the scan tells its spacing, else in pixels."""
    metric = result.spacing_mm is not None
    rows = [_metric_row(lesion) if metric else _pixel_row(lesion) for lesion in result.lesions]
    if any(lesion.uncertainty is not None for lesion in result.lesions):
        for row, lesion in zip(rows, result.lesions, strict=True):
            row["Unsure"] = None if lesion.uncertainty is None else 100 * lesion.uncertainty
    return rows


def remarks(result: Result) -> list[str]:
    """What belongs beside the table, in sentences."""
    targets = [lesion.number for lesion in result.lesions if lesion.target]
    said = []
    if targets and result.target_diameter_sum_px is not None:
        metric = result.target_diameter_sum_mm
        total = f"{result.target_diameter_sum_px:.0f} px" if metric is None else f"{metric:.0f} mm"
        named = f"lesion{'s' * (len(targets) > 1)} {', '.join(map(str, targets))}"
        said.append(f"Target lesions as of RANO-BM: {named}; sum of their longest diameters {total}.")
    if result.uncertainty_words:
        said.append(result.uncertainty_words)
    return said


def cautions(result: Result) -> list[str]:
    """What a reader has to be warned of: unlike what the model learned from first, then the result's own warnings."""
    unlike = [result.familiarity.words] if result.familiarity is not None and result.familiarity.unlike else []
    return list(dict.fromkeys([*unlike, *result.warnings]))


def _metric_row(lesion: Lesion) -> Row:
    return {
        "No.": lesion.number,
        "Slice": lesion.largest_slice + 1,
        "Size, mm": _across(lesion.long_diameter_mm, lesion.perpendicular_diameter_mm),
        "Vol., ml": None if lesion.volume_mm3 is None else lesion.volume_mm3 / 1000,
        "Prob.": 100 * lesion.mean_probability,
    }


def _pixel_row(lesion: Lesion) -> Row:
    return {
        "No.": lesion.number,
        "Slice": lesion.largest_slice + 1,
        "Size, px": _across(lesion.long_diameter_px, lesion.perpendicular_diameter_px),
        "Voxels": lesion.voxels,
        "Prob.": 100 * lesion.mean_probability,
    }


def _across(longest: float | None, perpendicular: float | None) -> str:
    """A lesion's two diameters as radiologists note them."""
    return " × ".join(
        f"{length:.0f}" if length >= 9.95 else f"{length:.1f}" for length in (longest or 0, perpendicular or 0)
    )


def headline(result: Result) -> list[tuple[str, str]]:
    """The three figures that a reader looks for first, each with its name."""
    count = len(result.lesions)
    if result.spacing_mm is None:
        load = f"{sum(lesion.voxels for lesion in result.lesions):,} px"
        longest = f"{max((lesion.long_diameter_px for lesion in result.lesions), default=0):.0f} px"
    else:
        load = f"{sum(lesion.volume_mm3 or 0 for lesion in result.lesions) / 1000:.1f} ml"
        longest = f"{max((lesion.long_diameter_mm or 0 for lesion in result.lesions), default=0):.0f} mm"
    name = "Total size" if result.spacing_mm is None else "Total volume"
    return [("Lesions", str(count)), (name, load if count else "–"), ("Longest", longest if count else "–")]


def extent(result: Result) -> str:
    """The size of the scan in words."""
    slices, rows, columns = result.shape
    words = f"{slices} slice{'s' * (slices > 1)} of {columns} × {rows} px"
    if result.spacing_mm is None:
        return f"{words}, no spacing stored"
    across, down, along = result.spacing_mm
    return f"{words}, {down:.2g} × {along:.2g} mm, {across:.2g} mm apart"


def network(name: str) -> str:
    """A network's name as people write it."""
    return NETWORKS.get(name, name)


def model_rows(card: ModelCard) -> list[dict[str, str]]:
    """The test figures of every network that was compared for a model, the one that serves first."""
    ranked = sorted(card.figures.items(), key=lambda entry: (entry[0] != card.network, -entry[1].mean))
    return [
        {
            "Network": network(name),
            "Test patients": str(dice.patients),
            "Mean": f"{dice.mean:.3f}",
            "Median": f"{dice.median:.3f}",
            "Spread": f"{dice.std:.3f}",
            "Lowest to highest": f"{dice.lowest:.3f} to {dice.highest:.3f}",
            "Slices alone": "–" if dice.mean_single_slices is None else f"{dice.mean_single_slices:.3f}",
        }
        for name, dice in ranked
    ]
