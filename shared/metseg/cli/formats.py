"""What `--formats` accepts."""

from metseg.cli.exit_codes import UsageError
from metseg.results.exports import EXPORTS, MAX_MARGIN_MM, Export, find_export

__all__ = ["DEFAULT", "parse_formats"]

DEFAULT = "nifti,probability,csv,report"


def parse_formats(text: str, margin_mm: float = 0) -> list[Export]:
    """The exports that a comma-separated list names, each once.

    Args:
        text: the list.
        margin_mm: of `rtstruct`; 0 for none.

    Returns:
        The exports.

    Raises:
        UsageError: the list is empty, or names something that does not exist; or there is no such margin.
    """
    names = dict.fromkeys(name.strip() for name in text.split(",") if name.strip())
    unknown = [name for name in names if name not in EXPORTS]
    if unknown or not names:
        wrong = f"There is no format {unknown[0]}" if unknown else "No format was named"
        raise UsageError(f"{wrong}; --formats takes some of {', '.join(EXPORTS)}.")
    if not 0 <= margin_mm <= MAX_MARGIN_MM:
        raise UsageError(f"--margin must be from 0 to {MAX_MARGIN_MM} mm.")
    if margin_mm and "rtstruct" not in names:
        raise UsageError("--margin is of the format rtstruct.")
    with_margin = find_export("mask", "rtstruct", margin_mm=margin_mm)
    return [with_margin if name == "rtstruct" else EXPORTS[name] for name in names]
