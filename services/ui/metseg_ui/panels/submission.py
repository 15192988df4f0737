"""From chosen files to submitted jobs: what makes one scan, how the browser sends it, and what the gateway refused."""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from itertools import zip_longest
from typing import Any, NamedTuple

import streamlit as st

from metseg.client import Attachment, RemoteProblem, read_answer, submission_fields
from metseg.contracts import MAX_LABEL_CHARACTERS, Job, Problem, Role, SequenceChoice
from metseg.errors import Unavailable
from metseg.settings import MIB, settings
from metseg_ui.components import uploader
from metseg_ui.components.uploader import ChosenFile
from metseg_ui.panels.patient_and_dates import PatientAndDates
from metseg_ui.state import gateway, sessions, url_state
from metseg_ui.text import messages

NOT_SENT = "The page's server does not answer, or a file was moved after it was chosen. Choose the files again."


class Part(NamedTuple):
    """A file of a submission.

    Attributes:
        field: of the REST API: `files`, or a sequence.
        name: of the file.
        files: places among the chosen files: one, or those that the browser packs into a ZIP.
        names: of these files in the ZIP; empty if there is none.
    """

    field: str
    name: str
    files: Sequence[int]
    names: Sequence[str] = ()


class Scan(NamedTuple):
    """A scan to submit: the name that the reader knows it by, and its files."""

    name: str
    parts: Sequence[Part]


class Options(NamedTuple):
    """How scans are segmented; see `Client.submit`."""

    threshold: float | None
    uncertainty: bool
    align: bool
    sequence: SequenceChoice


class Sending(NamedTuple):
    """What the browser is sending: the names of the scans, and its plan."""

    names: Sequence[str]
    plan: Mapping[str, Any]


def group_into_scans(
    files: Sequence[ChosenFile], label: str = "", *, separate: bool = False, roles: Mapping[int, Role] | None = None
) -> list[Scan]:
    """Group chosen files into scans. More files than a submission may have are packed into a ZIP.

    Args:
        files: as the uploader returns them.
        label: what the reader calls the scan; empty: as its files are called.
        separate: whether each file is a scan.
        roles: the sequence of each file that is submitted, by its index in `files`; None: all are submitted, and the
            gateway finds out.

    Returns:
        The scans.
    """
    if separate:
        return [Scan(file.name, [Part("files", file.name, [index])]) for index, file in enumerate(files)]
    fields: Mapping[int, str] = roles or dict.fromkeys(range(len(files)), "files")
    if len(fields) <= settings().limits.files:
        parts = [Part(field, files[index].name, [index]) for index, field in fields.items()]
    else:
        series = [[index for index in fields if fields[index] == one] for one in dict.fromkeys(fields.values())]
        parts = [_packed(fields[indices[0]], indices, files) for indices in series]
    return [Scan(label.strip() or _scan_name(files), parts)]


def size_refusal(scans: Iterable[Scan], files: Sequence[ChosenFile]) -> str:
    """Why scans are too large to be sent.

    Args:
        scans: their names and files.
        files: as the uploader returns them.

    Returns:
        A sentence; empty if none is too large.
    """
    most = settings().limits.upload_bytes
    for scan in scans:
        size = sum(files[index].size for part in scan.parts for index in part.files)
        if size > most:
            return f"{scan.name} has {-(-size // MIB):,} MB; an upload may have {most // MIB:,} MB."
    return ""


def start(scans: Sequence[Scan], options: Options, entered: PatientAndDates) -> None:
    """Have the browser send scans.

    Args:
        scans: their names and files.
        options: how they are segmented.
        entered: whose the scans are, and the date of each.
    """
    planned = [_planned(scan, options, entered, day) for scan, day in zip_longest(scans, entered.dates)]
    plan = {"id": uuid.uuid4().hex, "url": f"submissions/{sessions.current().token}", "scans": planned}
    st.session_state["sending"] = Sending([scan.name for scan in scans], plan)


def sending() -> Sending | None:
    """What the browser is sending; None if that has ended."""
    found: Sending | None = st.session_state.get("sending")
    return found


def finish() -> None:
    """Add the accepted scans to the URL, and keep the reasons of the others for `render_refusals`."""
    received, sent = uploader.answers(upload_round()), sending()
    if received is None or sent is None or received["plan"] != sent.plan["id"]:
        return
    del st.session_state["sending"]
    refused: list[tuple[str, RemoteProblem]] = []
    for name, answer in zip(sent.names, received["answers"], strict=True):
        try:
            if answer is not None:
                url_state.add(_accepted(answer).id)
        except RemoteProblem as problem:
            refused.append((name, problem))
    st.session_state["refused"] = refused
    if not refused and None not in received["answers"]:
        st.session_state["upload_round"] = upload_round() + 1


def submit_at_once(name: str, attachments: list[Attachment]) -> None:
    """Submit a scan that the page itself has made, and show it.

    Args:
        name: that the reader knows it by.
        attachments: its files.
    """
    st.session_state["refused"] = []
    with st.spinner("Uploading …"):
        try:
            url_state.add(gateway.submit(attachments, _label(name)).id)
        except RemoteProblem as problem:
            st.session_state["refused"] = [(name, problem)]
    st.rerun()


def upload_round() -> int:
    """Part of the uploader's key; a new round makes Streamlit draw an empty uploader."""
    return int(st.session_state.get("upload_round", 0))


def render_refusals() -> None:
    """Why the last submission was refused, above everything else; shown until the next one or until it is closed."""
    refused: list[tuple[str, RemoteProblem]] = st.session_state.get("refused", [])
    if not refused:
        return
    with st.container(key="refusals", gap="small"):
        _show_refusals(refused)
        if st.button("Close", key="close-refusals", type="tertiary"):
            del st.session_state["refused"]
            st.rerun()


def _show_refusals(refused: Iterable[tuple[str, RemoteProblem]]) -> None:
    for name, problem in refused:
        text = messages.problem_text(problem) + messages.sequence_advice(problem)
        scan = f"  \n:small[{messages.escape_markdown(name)}]{messages.candidates_text(problem)}"
        if problem.status in messages.TRANSIENT_STATUSES:
            st.warning(f"{text} {messages.retry_advice(problem)}{scan}", icon=":material/hourglass_empty:")
        else:
            st.error(f"{text}{scan}", icon=":material/error:")


def _planned(scan: Scan, options: Options, entered: PatientAndDates, taken_on: date | None) -> dict[str, Any]:
    """What the browser sends of a scan: see `components/assets/uploader.js`."""
    fields = submission_fields(
        threshold=options.threshold,
        align="rigid" if options.align else "none",
        uncertainty=options.uncertainty or None,
        label=_label(scan.name),
        sequence=options.sequence,
        patient=entered.patient,
        taken_on=taken_on,
    )
    return {"key": uuid.uuid4().hex, "fields": fields, "parts": [part._asdict() for part in scan.parts]}


def _accepted(answer: Mapping[str, Any]) -> Job:
    """The job of an answer that the browser received; RemoteProblem."""
    if not answer["status"]:
        raise RemoteProblem(Problem.of(Unavailable(NOT_SENT)))
    return read_answer(Job, answer["status"], answer["headers"], answer["body"])


def _label(name: str) -> str:
    """A name in the form that the gateway accepts as a label."""
    return "".join(sign for sign in name if sign.isprintable())[:MAX_LABEL_CHARACTERS]


def _scan_name(files: Sequence[ChosenFile]) -> str:
    """What the reader knows a scan of several files by: its folder, or its first file."""
    folder, slash, _ = files[0].name.partition("/")
    if slash:
        return folder
    more = f" and {len(files) - 1} more" if len(files) > 1 else ""
    return files[0].name + more


def _packed(field: str, indices: Sequence[int], files: Sequence[ChosenFile]) -> Part:
    """A ZIP of files of one sequence; they are numbered if two have the same name."""
    names = [files[index].name for index in indices]
    if len(set(names)) < len(names):
        names = [f"{number:05}-{name}" for number, name in enumerate(names)]
    return Part(field, f"{files[indices[0]].name}.zip", indices, names)
