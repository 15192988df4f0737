"""Whose images they are, and of which day, as their headers say."""

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

from metseg.formats.dicom.instances import Instance
from metseg.formats.study import Subject

__all__ = ["read_subject"]


def read_subject(instances: Sequence[Instance]) -> Subject:
    """The patient and the day of a study.

    A PatientID without a digit from 1 to 9, such as ANONYMOUS or 000000, is nobody's: many exports write it for all of
    their patients.

    Args:
        instances: of one patient.

    Returns:
        What all images that say something agree on.
    """
    patient_ids = {(each.issuer, each.patient[0]) for each in instances if re.search("[1-9]", each.patient[0])}
    days = {each.study_date for each in instances if each.study_date}
    patient_id = "\n".join(patient_ids.pop()) if len(patient_ids) == 1 else ""
    return Subject(patient_id, _parse_day(days.pop()) if len(days) == 1 else None)


def _parse_day(written: str) -> date | None:
    """A DA value, YYYYMMDD (PS3.5, 6.2), unless it lies in the future; else None."""
    try:
        day = datetime.strptime(written, "%Y%m%d").replace(tzinfo=UTC).date()
    except ValueError:
        return None
    return day if day <= datetime.now(UTC).date() + timedelta(days=1) else None
