"""From chosen files to submitted jobs: what makes one scan, and what the gateway refused."""

import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import zip_longest
from tempfile import TemporaryFile
from typing import BinaryIO, cast
from zipfile import ZIP_STORED, ZipFile, ZipInfo

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from metseg.client import Attachment, RemoteProblem
from metseg.contracts import MAX_LABEL_CHARACTERS, Role, SequenceChoice
from metseg.settings import settings
from metseg_ui.panels.patient_and_dates import NOT_ENTERED, PatientAndDates
from metseg_ui.state import gateway, url_state
from metseg_ui.text import messages

Scan = tuple[str, list[Attachment]]
"""The name that the reader knows a scan by, and its files."""


def group_into_scans(
    files: Sequence[BinaryIO], label: str = "", *, separate: bool = False, roles: Mapping[int, Role] | None = None
) -> Iterator[Scan]:
    """Group uploaded files into scans. More files than a submission may have are packed into a ZIP.

    Args:
        files: as the uploader returns them.
        label: what the reader calls the scan; empty: as its files are called.
        separate: whether each file is a scan.
        roles: the sequence of each file that is submitted, by its index in `files`; None: all are submitted, and the
            gateway finds out.

    Yields:
        The scans; the files of one are valid until the next is requested.
    """
    attachments = [Attachment(file.name, file) for file in files]
    if separate:
        yield from ((attachment.name, [attachment]) for attachment in attachments)
        return
    name = label.strip() or _scan_name(attachments)
    if roles:
        attachments = [attachments[index]._replace(role=role) for index, role in roles.items()]
    if len(attachments) <= settings().limits.files:
        yield name, attachments
        return
    with ExitStack() as stack:
        series = [
            [one for one in attachments if one.role == role] for role in dict.fromkeys(one.role for one in attachments)
        ]
        yield name, [stack.enter_context(_packed(files)) for files in series]


def submit(
    scans: Iterable[Scan],
    threshold: float | None = None,
    uploaded: Sequence[BinaryIO] = (),
    entered: PatientAndDates = NOT_ENTERED,
    *,
    uncertainty: bool = False,
    align: bool = True,
    sequence: SequenceChoice = "auto",
) -> None:
    """Submit scans; add the accepted ones to the URL, keep the reasons of the others for `render_refusals`.

    Args:
        scans: their names and files.
        threshold: in [0, 1]; None: the model's own.
        uploaded: files whose memory is released if nothing was refused.
        entered: whose the scans are, and the date of each.
        uncertainty: whether to estimate uncertainty.
        align: whether to register volumes that lie on different grids.
        sequence: of a scan of one grey image.
    """
    refused: list[tuple[str, RemoteProblem]] = []
    with st.spinner("Uploading …"):
        for (name, attachments), taken_on in zip_longest(scans, entered.dates):
            try:
                key = uuid.uuid4().hex
                job = gateway.submit(
                    attachments,
                    threshold,
                    key,
                    label=_label(name),
                    patient=entered.patient,
                    taken_on=taken_on,
                    uncertainty=uncertainty,
                    align=align,
                    sequence=sequence,
                )
                url_state.add(job.id)
            except RemoteProblem as problem:
                refused.append((name, problem))
    st.session_state["refused"] = refused
    if not refused:
        st.session_state["upload_round"] = upload_round() + 1
        _release_memory(uploaded)
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


def _label(name: str) -> str:
    """A name in the form that the gateway accepts as a label."""
    return "".join(sign for sign in name if sign.isprintable())[:MAX_LABEL_CHARACTERS]


def _scan_name(attachments: Sequence[Attachment]) -> str:
    """What the reader knows a scan of several files by: its folder, or its first file."""
    folder, slash, _ = attachments[0].name.partition("/")
    if slash:
        return folder
    more = f" and {len(attachments) - 1} more" if len(attachments) > 1 else ""
    return attachments[0].name + more


@contextmanager
def _packed(attachments: Sequence[Attachment]) -> Iterator[Attachment]:
    """A ZIP of files of one sequence."""
    with TemporaryFile() as file:
        archive = cast(BinaryIO, file)
        _write_zip(attachments, archive)
        yield Attachment(f"{attachments[0].name}.zip", archive, attachments[0].role)


def _write_zip(attachments: Sequence[Attachment], target: BinaryIO) -> None:
    """Pack files, such as a DICOM series; they are numbered if two from different folders have the same name."""
    ambiguous = len({attachment.name for attachment in attachments}) < len(attachments)
    with ZipFile(target, "w", ZIP_STORED) as archive:
        for index, (name, content, _) in enumerate(attachments):
            with archive.open(ZipInfo(f"{index:05}-{name}" if ambiguous else name), "w", force_zip64=True) as member:
                shutil.copyfileobj(cast(BinaryIO, content), member)


def _release_memory(files: Sequence[BinaryIO]) -> None:
    """Free the memory of submitted files, which Streamlit would keep until the session ends."""
    context = get_script_run_ctx()
    if context is not None:
        for file in files:
            context.uploaded_file_mgr.remove_file(context.session_id, file.file_id)  # type: ignore[attr-defined]
