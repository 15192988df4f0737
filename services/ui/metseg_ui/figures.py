"""What the page shows, as pure functions: arrays and results in; pictures, table rows and sentences out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from metseg import pictures
from metseg.contracts import Lesion, ModelCard, Result
from metseg.volume import CHANNELS

Marking = Literal["Outline", "Fill", "Off"]
Row = dict[str, str | int | float | None]
Mask = npt.NDArray[np.bool_]
Pixels = npt.NDArray[np.uint8]

SHOWN_SIDE_PX = 768
NUMBER_PX = 26
LINE_PX = 3
NETWORKS = {"nested-unet": "Nested U-Net (U-Net++)", "attention-unet": "Attention U-Net"}


@dataclass(frozen=True)
class View:
    """How the reader wants a slice drawn."""

    channel: int = 1
    marking: Marking = "Outline"
    opacity: float = 0.35
    note: str = ""


def picture(
    pixels: Pixels, mask: Mask, lesions: Sequence[tuple[int, Lesion]], spacing: Sequence[float], view: View
) -> Pixels:
    """Draw one slice as large as the page shows it, so that lines stay thin and pixels keep their true shape.

    Args:
        pixels: the slice, (row, column, channel), for display.
        mask: what is marked, (row, column).
        lesions: the lesions of this slice with their numbers.
        spacing: between rows and between columns; only their ratio matters.
        view: how to draw it.

    Returns:
        RGB, (row, column, 3).
    """
    size = _shown_size(mask.shape, spacing)
    large = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))
    marked = np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))
    if view.marking == "Off":
        return np.repeat(large[:, :, view.channel, None], 3, axis=2)
    if view.marking == "Fill":
        drawn = pictures.overlay(large, marked, view.channel, view.opacity)
    else:
        drawn = pictures.overlay(large, _line(marked), view.channel, opacity=1.0)
    return _written(drawn, mask, lesions, view.note)


def _shown_size(shape: Sequence[int], spacing: Sequence[float]) -> tuple[int, int]:
    """Columns and rows of the picture: pixels as wide and high as their spacing says, never fewer than there are."""
    rows, columns = shape[0] * spacing[0], shape[1] * spacing[1]
    enough = max(SHOWN_SIDE_PX / max(rows, columns), shape[0] / rows, shape[1] / columns)
    return round(columns * enough), round(rows * enough)


def _line(marked: Mask) -> Mask:
    """A line around what is marked that covers none of it, wide enough to be seen when the picture is scaled down."""
    grown = Image.fromarray(marked.astype(np.uint8)).filter(ImageFilter.MaxFilter(2 * LINE_PX + 1))
    return np.asarray(grown, bool) & ~marked


def _written(drawn: Pixels, mask: Mask, lesions: Sequence[tuple[int, Lesion]], note: str) -> Pixels:
    """Write each lesion's number beside its upper right corner, and the note into the picture's upper left."""
    image = Image.fromarray(drawn)
    pencil, font = ImageDraw.Draw(image), ImageFont.load_default(NUMBER_PX)
    row_scale, column_scale = image.height / mask.shape[0], image.width / mask.shape[1]
    for number, row, column in _corners(mask, lesions):
        x = min(column * column_scale + 4, image.width - NUMBER_PX * len(str(number)))
        y = max(row * row_scale - NUMBER_PX, 0)
        pencil.text((x, y), str(number), fill="white", font=font, stroke_width=3, stroke_fill="black")
    pencil.text((12, 8), note, fill="#f2b632", font=font, stroke_width=3, stroke_fill="black")
    return np.asarray(image)


def _corners(mask: Mask, lesions: Sequence[tuple[int, Lesion]]) -> Iterator[tuple[int, int, int]]:
    """Number, first row and last column of each lesion that the mask still shows in its box."""
    for number, lesion in lesions:
        (_, top, left), (_, bottom, right) = lesion.box.first, lesion.box.stop
        rows, columns = np.nonzero(mask[top:bottom, left:right])
        if rows.size:
            yield number, top + int(rows.min()), left + int(columns.max()) + 1


def lesions_of(result: Result, index: int) -> list[tuple[int, Lesion]]:
    """The lesions that touch a slice, with their numbers."""
    touching = set(result.slices[index].lesions)
    return [(lesion.number, lesion) for lesion in result.lesions if lesion.number in touching]


def sequences(pixels: Pixels) -> tuple[str, ...]:
    """The sequences that a slice really has: one where a grey image was copied to all channels."""
    if all(np.array_equal(pixels[:, :, 0], pixels[:, :, other]) for other in (1, 2)):
        return ("Image",)
    return tuple(name.removesuffix("-contrast").replace("p", "P", 1) for name in CHANNELS)


def lesion_rows(result: Result) -> list[Row]:
    """One table row a lesion, largest first: in millimetres where the scan tells its spacing, else in pixels."""
    metric = result.spacing_mm is not None
    return [_metric_row(lesion) if metric else _pixel_row(lesion) for lesion in result.lesions]


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


def description(result: Result, index: int, sequence: str, lesion_px: int) -> str:
    """The picture in words, for those who cannot see it."""
    where = f"Slice {index + 1} of {len(result.slices)}, {sequence}"
    if not lesion_px:
        return f"{where}. No lesion is marked here."
    numbers = result.slices[index].lesions
    named = f"lesion{'s' * (len(numbers) != 1)} {', '.join(map(str, numbers))}" if numbers else "an area"
    return f"{where}. Marked: {named}, {lesion_px} px."


def neighbour(result: Result, index: int, step: Literal[-1, 1]) -> int | None:
    """The next slice in a direction that shows a lesion; None where there is none."""
    ahead = [figures.index for figures in result.slices if figures.lesions and (figures.index - index) * step > 0]
    return (min if step > 0 else max)(ahead, default=None)


def profile(result: Result, index: int) -> str:
    """The lesion area of every slice as a row of bars, the shown slice marked; HTML for the page's style sheet."""
    tallest = max((figures.area_px for figures in result.slices), default=0) or 1
    bars = "".join(
        f'<i{" class=here" * (one.index == index)}><b style="height:{100 * one.area_px / tallest:.0f}%"></b></i>'
        for one in result.slices
    )
    with_lesions = sum(1 for figures in result.slices if figures.lesions)
    words = (
        f"Lesion area by slice: {with_lesions} of {len(result.slices)} slices show lesions; here is slice {index + 1}."
    )
    return f'<div class="metseg-profile" role="img" aria-label="{words}">{bars}</div>'


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
