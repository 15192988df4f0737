"""Detection of metastases that were drawn into test patients, as the tables of the benches tell it."""

from metseg.contracts import LesionFigures

__all__ = ["found"]

FINDABLE_BELOW = "below 6 mm"


def found(lesions: LesionFigures) -> dict[str, float]:
    """Of those of 6 mm and more: how many there are, which share is found, and false positives a patient."""
    strata = [figures for name, figures in lesions.by_diameter.items() if name != FINDABLE_BELOW]
    count = sum(figures.lesions for figures in strata)
    return {
        "lesions": count,
        "sensitivity": sum(figures.lesions * figures.sensitivity for figures in strata) / count if count else 0.0,
        "false_positives": lesions.false_positives.mean,
    }
