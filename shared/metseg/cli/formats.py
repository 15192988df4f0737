"""What `--formats` accepts."""

from metseg.cli.exit_codes import UsageError
from metseg.results.exports import EXPORTS, Export

__all__ = ["DEFAULT", "parse_formats"]

DEFAULT = "nifti,probability,csv,report"


def parse_formats(text: str) -> list[Export]:
    """The exports that a comma-separated list names, each once.

    Raises:
        UsageError: the list is empty, or names something that does not exist.
    """
    names = dict.fromkeys(name.strip() for name in text.split(",") if name.strip())
    unknown = [name for name in names if name not in EXPORTS]
    if unknown or not names:
        wrong = f"There is no format {unknown[0]}" if unknown else "No format was named"
        raise UsageError(f"{wrong}; --formats takes some of {', '.join(EXPORTS)}.")
    return [EXPORTS[name] for name in names]
