"""The upload form in the sidebar."""

from collections.abc import Sequence

import streamlit as st

from metseg.contracts import MAX_LABEL_CHARACTERS, ModelCard, Role, SequenceChoice
from metseg.imaging import ROLES
from metseg.settings import MIB, settings
from metseg_ui.components import uploader
from metseg_ui.components.uploader import ChosenFile
from metseg_ui.panels import patient_and_dates, submission
from metseg_ui.text import messages

SEQUENCES = "pre-contrast T1, FLAIR and post-contrast T1"
SEQUENCES_HELP = (
    f"The model uses {SEQUENCES}. File names or DICOM headers indicate them; if they do not, or are wrong, "
    "choose the files of each sequence here, or in a whole folder the folder of each."
)
AUTO: SequenceChoice = "auto"
SEQUENCE_HELP = (
    "For scans of one grey image, such as a PNG: which sequence it is. If you do not choose, its name, DICOM header "
    "or pixels decide."
)
LABEL_HELP = "Stored with the scan; do not enter a patient's name. Without one, the file's name is used."
FORMATS = "NIfTI, NRRD, MHA, DICOM, PNG, JPEG, TIFF or ZIP"
ONE_SCAN, SEPARATE_SCANS = "slices of one scan", "separate scans"


def render(card: ModelCard | None) -> None:
    """Choose files, say what they are, set options, submit.

    The threshold can only be set if a model is in service: `card` gives its default.
    """
    key = submission.upload_round()
    files, place = uploader.chosen(key), st.container()
    with st.container():  # so that what is below stays in its place, and an open expander open
        separate = _separate(files, key)
        label = _label(key) if files and not separate else ""
    names = [file.name for file in files] if separate else [label]
    with st.expander("Patient and date"):
        entered = patient_and_dates.render(names, key)
    roles = {} if separate else _roles([file.name for file in files], key)
    sequence = AUTO if roles else _sequence(key)
    options = submission.Options(_threshold(card), *_toggles(), sequence)
    scans = submission.group_into_scans(files, label, separate=separate, roles=roles) if files else []
    if too_large := submission.size_refusal(scans, files):
        st.error(messages.escape_markdown(too_large), icon=":material/error:")
    disabled = not scans or bool(too_large) or submission.sending() is not None
    if st.button("Find lesions", type="primary", width="stretch", disabled=disabled, icon=":material/search:"):
        submission.start(scans, options, entered)
    sent = submission.sending()
    with place:
        uploader.render(key, _hint(), None if sent is None else sent.plan, submission.finish)


def _separate(files: Sequence[ChosenFile], key: int) -> bool:
    """Whether each file is a scan; those of a folder are one."""
    if len(files) < 2 or any("/" in file.name for file in files):
        return False
    relation = st.radio("These files are", (ONE_SCAN, SEPARATE_SCANS), horizontal=True, key=f"relation-{key}")
    return relation == SEPARATE_SCANS


def _label(key: int) -> str:
    """What the reader calls the scan."""
    return st.text_input("Name of the scan", key=f"label-{key}", max_chars=MAX_LABEL_CHARACTERS, help=LABEL_HELP)


def _toggles() -> tuple[bool, bool]:
    """Whether to estimate uncertainty, and whether to align the sequences."""
    uncertainty = st.toggle(
        "Estimate uncertainty",
        key="uncertainty",
        help="Repeats the prediction on mirrored slices, and with a second network if there is one. Takes longer.",
    )
    align = st.toggle(
        "Align the sequences",
        value=True,
        key="align",
        help="Corrects head motion between volumes that lie on different grids.",
    )
    return uncertainty, align


def _sequence(key: int) -> SequenceChoice:
    """The sequence of scans of one grey image, if the reader chooses it."""
    options: tuple[SequenceChoice, ...] = (AUTO, *ROLES)
    return st.selectbox(
        "A grey image is",
        options,
        format_func=lambda option: "recognised" if option == AUTO else messages.ROLE_TITLES[option],
        key=f"sequence-{key}",
        help=SEQUENCE_HELP,
    )


def _roles(names: Sequence[str], key: int) -> dict[int, Role]:
    """The sequence of each file by the file's index, if the reader chooses them; files without one are left out.

    Files of an uploaded folder are chosen by their folders.
    """
    if not names or not st.toggle("Choose the sequences", key=f"choose-{key}", help=SEQUENCES_HELP):
        return {}
    groups: dict[str, list[int]] = {}
    for index, name in enumerate(names):
        groups.setdefault(name.rpartition("/")[0] or name, []).append(index)
    roles: dict[str, Role] = {}
    for role in ROLES:
        free = [group for group in groups if group not in roles]
        title = messages.ROLE_TITLES[role]
        chosen = st.multiselect(title, free, key=f"{role}-{key}", placeholder="Not uploaded")
        roles |= dict.fromkeys(chosen, role)
    left_out = [messages.escape_markdown(group) for group in groups if group not in roles]
    if roles and left_out:
        st.caption(f"Left out: {', '.join(left_out)}")
    return {index: role for group, role in roles.items() for index in groups[group]}


def _hint() -> str:
    return f"{FORMATS}; up to {max(settings().limits.upload_bytes // MIB, 1)} MB a scan"


def _threshold(card: ModelCard | None) -> float | None:
    """The threshold to submit with; None: the model's own."""
    if card is None or not st.toggle("Set the threshold manually", key="own_threshold"):
        return None
    return st.slider(
        "Threshold for this upload",
        0.01,
        0.99,
        round(card.threshold, 2),
        0.01,
        help="Pixels of at least this probability count as lesion. A lower value finds more, true and false.",
    )
