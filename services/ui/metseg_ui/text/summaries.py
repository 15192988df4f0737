"""Table rows, figures and sentences about results and models."""

from metseg.contracts import FINDINGS, IdentifiedBy, Lesion, ModelCard, Result, ResultSummary
from metseg.imaging import CHANNELS
from metseg_ui.text import messages
from metseg_ui.text.messages import counted, plural

IDENTIFIED_BY: dict[IdentifiedBy, str] = {
    "stated": "as given with the upload",
    "name": "by its name",
    "recognised": "recognised by its pixels",
}
"""What decided the sequence of slices, in words."""
Row = dict[str, str | int | float | None]

MIN_ROUNDED_LENGTH = 9.95
"""Longer lengths, in mm or px, are shown without decimals."""


def sequences(result: Result) -> tuple[str, ...]:
    """The names of the channels of a study: one if a single grey image was copied to all of them."""
    if len(result.identified) == 1:
        return ("Image",)
    return tuple(name.removesuffix("-contrast").replace("p", "P", 1) for name in CHANNELS)


def headline(result: Result) -> list[tuple[str, str]]:
    """The three figures that a reader looks for first, each with its label."""
    found = result.lesions
    if result.spacing_mm is None:
        longest = f"{max((lesion.long_diameter_px for lesion in found), default=0):.0f} px"
    else:
        longest = f"{max((lesion.long_diameter_mm or 0 for lesion in found), default=0):.0f} mm"
    size_label = "Total size" if result.spacing_mm is None else "Total volume"
    return [
        (f"{result.findings[0].upper()}{result.findings[1:]}", str(len(found))),
        (size_label, _total(result.summary) if found else "–"),
        ("Longest diameter", longest if found else "–"),
    ]


def one_line(summary: ResultSummary) -> str:
    """Number of lesions and their total volume or size."""
    count = counted(summary.lesions, FINDINGS[summary.structure][0])
    return f"{count} · {_total(summary)}" if summary.lesions else count


def _total(summary: ResultSummary) -> str:
    return f"{summary.voxels:,} voxels" if summary.volume_mm3 is None else f"{summary.volume_mm3 / 1000:.1f} ml"


def lesion_rows(result: Result) -> list[Row]:
    """One table row per lesion, largest first; sizes in mm if the spacing is known, else in pixels."""
    to_row = _pixel_row if result.spacing_mm is None else _metric_row
    rows = [to_row(lesion) for lesion in result.lesions]
    for row, lesion in zip(rows, result.lesions, strict=True):
        if lesion.surrounding_volume_mm3 is not None:
            row["Around, ml"] = lesion.surrounding_volume_mm3 / 1000
        elif lesion.surrounding_voxels is not None:
            row["Around"] = lesion.surrounding_voxels
    if any(lesion.label for lesion in result.lesions):
        rows = [
            {"No.": row["No."], "Label": lesion.label or ""} | row
            for row, lesion in zip(rows, result.lesions, strict=True)
        ]
    if any(lesion.uncertainty is not None for lesion in result.lesions):
        for row, lesion in zip(rows, result.lesions, strict=True):
            row["Uncert."] = None if lesion.uncertainty is None else 100 * lesion.uncertainty
    return rows


def _metric_row(lesion: Lesion) -> Row:
    return {
        "No.": lesion.number,
        "Slice": lesion.largest_slice + 1,
        "Size, mm": _diameters(lesion.long_diameter_mm, lesion.perpendicular_diameter_mm),
        "Vol., ml": None if lesion.volume_mm3 is None else lesion.volume_mm3 / 1000,
        "Prob.": 100 * lesion.mean_probability,
    }


def _pixel_row(lesion: Lesion) -> Row:
    return {
        "No.": lesion.number,
        "Slice": lesion.largest_slice + 1,
        "Size, px": _diameters(lesion.long_diameter_px, lesion.perpendicular_diameter_px),
        "Voxels": lesion.voxels,
        "Prob.": 100 * lesion.mean_probability,
    }


def _diameters(longest: float | None, perpendicular: float | None) -> str:
    """The two diameters of a lesion, as "15 × 12"."""
    return " × ".join(
        f"{length:.0f}" if length >= MIN_ROUNDED_LENGTH else f"{length:.1f}"
        for length in (longest or 0, perpendicular or 0)
    )


def has_surroundings(result: Result) -> bool:
    """Whether the lesions are cores, and the whole is larger than they are."""
    structures = result.structures
    return result.structure == "core" and structures["whole"].voxels > structures["core"].voxels


def model_notes(card: ModelCard, result: Result, *, is_whole_shown: bool) -> list[str]:
    """What was outlined, by a model that learned what, and how often that is wrong.

    Args:
        card: of the model that made the result.
        result: of a job.
        is_whole_shown: whether the viewer shows the whole around the cores.

    Returns:
        Up to two lines.
    """
    outlined = result.findings
    if result.structure == "core":
        outlined = f"tumour cores and{', in teal,' if is_whole_shown else ''} what surrounds them"
    notes = [f"The model outlines {outlined}. {card.limits[0]}" if card.limits else f"The model outlines {outlined}."]
    figures = [
        f"{one.lesions.false_positives.mean:.1f} in {counted(one.lesions.false_positives.patients, 'test patient')}"
        + (f" ({name})" if name else "")
        for name, one in card.evaluations_of(result.structure).items()
    ]
    return [*notes, f"False outlines per patient: {'; '.join(figures)}."] if figures else notes


def lesion_size(lesion: Lesion) -> str:
    """The two diameters of a lesion with their unit, as "15 × 12 mm"."""
    if lesion.long_diameter_mm is None:
        return f"{_diameters(lesion.long_diameter_px, lesion.perpendicular_diameter_px)} px"
    return f"{_diameters(lesion.long_diameter_mm, lesion.perpendicular_diameter_mm)} mm"


def target_note(result: Result) -> str:
    """The target lesions and the sum of their diameters, in words; empty without a target."""
    numbers = [lesion.number for lesion in result.lesions if lesion.target]
    if not numbers or result.target_diameter_sum_px is None:
        return ""
    listed = f"{plural('lesion', len(numbers))} {', '.join(map(str, numbers))}"
    if result.target_diameter_sum_mm is None:
        pixels = f"sum of longest diameters: {result.target_diameter_sum_px:.0f} px"
        return f"Longest {listed}; {pixels}. Targets of RANO-BM need a spacing."
    kind = "RANO-BM target" if result.review else "Proposed RANO-BM target"
    return f"{kind} {listed}; sum of longest diameters: {result.target_diameter_sum_mm:.0f} mm."


def warnings(result: Result) -> list[str]:
    """What a reader must be warned of: first that the study is unlike the training data, then the result's warnings."""
    unlike = [result.familiarity.words] if result.familiarity is not None and result.familiarity.unlike else []
    return list(dict.fromkeys([*unlike, *result.warnings]))


def sources(result: Result) -> list[str]:
    """What each sequence that the model received was made from; empty if slices were uploaded in colour."""
    found = dict(result.sequences)
    for role, identified in result.identified.items():
        if role not in found and identified.by in IDENTIFIED_BY:
            found[role] = IDENTIFIED_BY[identified.by]
    return [f"{messages.ROLE_TITLES[role]}: {source}" for role, source in found.items()]


def scan_size(result: Result) -> str:
    """Number and size of the slices, and their spacing."""
    slices, rows, columns = result.shape
    size = f"{counted(slices, 'slice')} of {columns} × {rows} px"
    if result.spacing_mm is None:
        return f"{size}, spacing unknown"
    between_slices, row_mm, column_mm = result.spacing_mm
    return f"{size}, {row_mm:.2g} × {column_mm:.2g} mm, {between_slices:.2g} mm apart"


def model_caption(card: ModelCard, prefix: str) -> str:
    """Something about a model, followed by its mean Dice on test patients, of the whole, if the card has it.

    Args:
        card: of the model.
        prefix: what stands before it, in Markdown.

    Returns:
        One line of Markdown.
    """
    dice = card.figures.get(card.network)
    if not dice:
        return prefix
    measured = "mean Dice of the whole" if "core" in card.operating_points else "mean Dice"
    return f"{prefix} · {measured} {dice.mean:.2f} on {counted(dice.patients, 'test patient')}"


def model_rows(card: ModelCard) -> list[dict[str, str]]:
    """The test Dice of every network that was compared, that of the model first."""
    ranked = sorted(card.figures.items(), key=lambda entry: (entry[0] != card.network, -entry[1].mean))
    return [
        {
            "Network": name,
            "Test patients": str(dice.patients),
            "Mean": f"{dice.mean:.3f}",
            "Median": f"{dice.median:.3f}",
            "SD": f"{dice.std:.3f}",
            "Range": f"{dice.lowest:.3f} to {dice.highest:.3f}",
            "Single slices": "–" if dice.mean_single_slices is None else f"{dice.mean_single_slices:.3f}",
        }
        for name, dice in ranked
    ]
