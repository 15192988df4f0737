"""The fields of an upload that a follow-up needs: whose scans they are, and when each was acquired."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

import streamlit as st

from metseg.contracts import MAX_PATIENT_CHARACTERS

OLDEST = date(1980, 1, 1)
PATIENT_HELP = (
    "A pseudonym, such as a number in your study: the same one for all scans of a patient. Do not enter a name or a "
    "number of the hospital. DICOM files need neither this nor a date: they hold both."
)


class PatientAndDates(NamedTuple):
    """Whose scans an upload has, and when they were acquired.

    Attributes:
        patient: a pseudonym; None if not entered.
        dates: of each scan; None if not entered.
    """

    patient: str | None
    dates: Sequence[date | None]


def render(scans: Sequence[str], key: int) -> PatientAndDates:
    """Fields for the patient and for the date of each scan.

    Args:
        scans: the name of each scan of the upload.
        key: of the upload. The next one starts with empty fields, lest it gets the patient of this one.

    Returns:
        What was entered.
    """
    patient = st.text_input("Patient", key=f"patient-{key}", max_chars=MAX_PATIENT_CHARACTERS, help=PATIENT_HELP)
    tomorrow = datetime.now(UTC).date() + timedelta(days=1)  # the gateway's limit, for every time zone
    dates = [
        st.date_input(
            "Date of the scan" if len(scans) == 1 else f"Date of {name}",
            None,
            OLDEST,
            tomorrow,
            key=f"taken-on-{key}-{index}",
            format="YYYY-MM-DD",
        )
        for index, name in enumerate(scans)
    ]
    return PatientAndDates(patient.strip() or None, dates)
