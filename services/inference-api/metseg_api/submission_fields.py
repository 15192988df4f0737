"""The fields of a submission, apart from its files."""

from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple, get_args

from pydantic import TypeAdapter, ValidationError

from metseg.contracts import (
    MAX_LABEL_CHARACTERS,
    MAX_PATIENT_CHARACTERS,
    Align,
    Probability,
    SequenceChoice,
    is_model_version,
)
from metseg.errors import InvalidParameter
from metseg_api.multipart import Part

__all__ = ["Options", "parse_options"]

ALIGNS: tuple[Align, ...] = get_args(Align)
SEQUENCES: tuple[SequenceChoice, ...] = get_args(SequenceChoice)


class Options(NamedTuple):
    """The fields that a submission may have in addition to its files."""

    threshold: float | None
    model: str | None
    sequence: SequenceChoice
    align: Align
    deidentify: bool
    uncertainty: bool
    label: str | None
    patient: str | None
    taken_on: date | None


def parse_options(parts: list[Part]) -> Options:
    """The options in the fields of a form.

    Raises:
        InvalidParameter: a field is unknown, sent twice or invalid.
    """
    if not {part.name for part in parts} <= set(Options._fields):
        raise InvalidParameter(
            "The fields are `threshold`, `model`, `sequence`, `align`, `deidentify`, `uncertainty`, `label`, `patient` "
            "and `taken_on`; every file needs a filename."
        )
    if len({part.name for part in parts}) < len(parts):
        raise InvalidParameter("Send each field once at most.")
    fields = {part.name: part.value for part in parts if part.value}
    return Options(
        _threshold(fields.get("threshold")),
        _model(fields.get("model")),
        _sequence(fields.get("sequence")),
        _align(fields.get("align")),
        _boolean("deidentify", fields.get("deidentify")),
        _boolean("uncertainty", fields.get("uncertainty")),
        _text("label", fields.get("label"), MAX_LABEL_CHARACTERS),
        _text("patient", fields.get("patient"), MAX_PATIENT_CHARACTERS),
        _date(fields.get("taken_on")),
    )


def _threshold(value: bytes | None) -> float | None:
    if value is None:
        return None
    try:
        return TypeAdapter(Probability).validate_python(value.decode())
    except (UnicodeDecodeError, ValidationError) as error:
        raise InvalidParameter("`threshold` must be a number from 0 to 1.") from error


def _model(value: bytes | None) -> str | None:
    if value is None:
        return None
    version = value.decode("ascii", "replace")
    if not is_model_version(version):
        raise InvalidParameter("`model` must be a version that /v1/models lists.")
    return version


def _sequence(value: bytes | None) -> SequenceChoice:
    chosen = next((each for each in SEQUENCES if value in (None, each.encode())), None)
    if chosen is None:
        raise InvalidParameter("`sequence` must be `auto`, `pre`, `flair` or `post`.")
    return chosen


def _align(value: bytes | None) -> Align:
    chosen = next((each for each in ALIGNS if value in (None, each.encode())), None)
    if chosen is None:
        raise InvalidParameter("`align` must be `rigid` or `none`.")
    return chosen


def _text(name: str, value: bytes | None, max_characters: int) -> str | None:
    text = (value or b"").decode("utf-8", "replace").strip()
    if len(text) > max_characters or not text.isprintable():
        raise InvalidParameter(f"`{name}` must be at most {max_characters} printable characters in one line.")
    return text or None


def _date(value: bytes | None) -> date | None:
    if value is None:
        return None
    try:
        taken_on = date.fromisoformat(value.decode("ascii", "replace"))
    except ValueError as error:
        raise InvalidParameter("`taken_on` must be a date such as 2026-01-31.") from error
    if taken_on > datetime.now(UTC).date() + timedelta(days=1):
        raise InvalidParameter("`taken_on` lies in the future.")
    return taken_on


def _boolean(name: str, value: bytes | None) -> bool:
    if value not in (None, b"true", b"false"):
        raise InvalidParameter(f"`{name}` must be `true` or `false`.")
    return value == b"true"
