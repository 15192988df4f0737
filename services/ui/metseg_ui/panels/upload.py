"""How a scan comes in: an upload, or an example at one click."""

import shutil
import uuid
from collections.abc import Iterator, Sequence
from tempfile import TemporaryFile
from typing import BinaryIO, cast
from zipfile import ZIP_STORED, ZipFile, ZipInfo

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from metseg.client import Attachment, RemoteProblem
from metseg.contracts import ModelCard
from metseg.settings import MIB, settings
from metseg_ui.panels.examples import EXAMPLES, Drawing, Example, by_seed, draw
from metseg_ui.state import gateway, url_state
from metseg_ui.text import messages

FORMATS = "NIfTI, DICOM, PNG, JPEG or TIFF, or one ZIP"
MOST_FILES = 100
"""Of more files an archive is made: a submission may have 128."""
TOGETHER, APART = "slices of one scan", "a scan each"


def panel(card: ModelCard | None) -> None:
    """The upload: files, what they are to each other, and the threshold for those who want another."""
    round_number: int = st.session_state.setdefault("upload_round", 0)
    folder = st.toggle("Upload a whole folder", key="folder", help="Drop it on the field below, or choose it there.")
    files = st.file_uploader(
        f"Brain MRI: {FORMATS}, {_megabytes()} MB at most",
        accept_multiple_files="directory" if folder else True,
        key=f"{'folder' if folder else 'files'}-{round_number}",
        max_upload_size=_megabytes(),
    )
    relation = TOGETHER
    if len(files) > 1 and not folder:
        relation = st.radio("These files are", (TOGETHER, APART), horizontal=True, key=f"relation-{round_number}")
    threshold = _threshold(card)
    uncertainty = st.toggle(
        "Tell how sure it is", key="uncertainty", help="Looks again, mirrored, at what may be lesion. Takes longer."
    )
    align = st.toggle(
        "Align the sequences",
        value=True,
        key="align",
        help="Where volumes lie on different grids, the head's motion between them is looked for.",
    )
    if st.button("Find lesions", type="primary", width="stretch", disabled=not files, icon=":material/search:"):
        _send(_studies(files, apart=relation == APART), threshold, files, uncertainty=uncertainty, align=align)
    _refusals()


def _megabytes() -> int:
    return max(settings().limits.upload_bytes // MIB, 1)


def _threshold(card: ModelCard | None) -> float | None:
    """The threshold to submit with; None leaves it to the model."""
    if card is None or not st.toggle("Set the threshold myself", key="own_threshold"):
        return None
    return st.slider(
        "Threshold of the submission",
        0.01,
        0.99,
        round(card.threshold, 2),
        0.01,
        help="The probability from which a pixel counts as lesion. Lower finds more, and more that is none.",
    )


def _studies(files: Sequence[BinaryIO], apart: bool) -> Iterator[tuple[str, list[Attachment]]]:
    """Each study to submit, with the name that the reader will know it by."""
    attachments = [Attachment(file.name, file) for file in files]
    if apart:
        yield from ((attachment.name, [attachment]) for attachment in attachments)
        return
    name = _called(attachments)
    if len(attachments) <= MOST_FILES:
        yield name, attachments
        return
    with TemporaryFile() as target:
        _pack(attachments, cast(BinaryIO, target))
        yield name, [Attachment(f"{attachments[0].name}.zip", cast(BinaryIO, target))]


def _called(attachments: Sequence[Attachment]) -> str:
    """What the reader knows a scan of several files by: its folder, or its first file."""
    folder, slash, _ = attachments[0].name.partition("/")
    if slash:
        return folder
    more = f" and {len(attachments) - 1} more" if len(attachments) > 1 else ""
    return attachments[0].name + more


def _pack(attachments: Sequence[Attachment], target: BinaryIO) -> None:
    """Write a ZIP of many files, as a DICOM series is; those of equal names, from folders of their own, get numbers."""
    alike = len({attachment.name for attachment in attachments}) < len(attachments)
    with ZipFile(target, "w", ZIP_STORED) as archive:
        for index, (name, content, _) in enumerate(attachments):
            with archive.open(ZipInfo(f"{index:05}-{name}" if alike else name), "w", force_zip64=True) as member:
                shutil.copyfileobj(cast(BinaryIO, content), member)


def _send(
    studies: Iterator[tuple[str, list[Attachment]]],
    threshold: float | None,
    sent: Sequence[BinaryIO] = (),
    *,
    uncertainty: bool = False,
    align: bool = True,
) -> None:
    """Submit every study; list what was taken, keep the reason for what was not."""
    refused: list[tuple[str, RemoteProblem]] = []
    with st.spinner("Sending …"):
        for name, attachments in studies:
            try:
                job = gateway.submit(attachments, threshold, uuid.uuid4().hex, uncertainty=uncertainty, align=align)
                url_state.add(job.id, name)
            except RemoteProblem as problem:
                refused.append((name, problem))
    st.session_state["refused"] = refused
    if not refused:
        st.session_state["upload_round"] += 1
        _let_go(sent)
    st.rerun()


def _let_go(files: Sequence[BinaryIO]) -> None:
    """Free the memory of files that were submitted; Streamlit would keep them until the session ends."""
    context = get_script_run_ctx()
    if context is not None:
        for file in files:
            context.uploaded_file_mgr.remove_file(context.session_id, file.file_id)  # type: ignore[attr-defined]


def _refusals() -> None:
    """Why the last submission was not taken, until the next one."""
    refused: list[tuple[str, RemoteProblem]] = st.session_state.get("refused", [])
    for name, problem in refused:
        told = f"**{problem.title}.** {problem.detail}"
        if problem.status in messages.PASSING:
            told = f"{told} {messages.again(problem)}"
            st.warning(f"{told}  \n:small[{messages.plain(name)}]", icon=":material/hourglass_empty:")
        else:
            st.error(f"{told}  \n:small[{messages.plain(name)}]", icon=":material/error:")


def examples() -> None:
    """One button for each example scan."""
    for example in EXAMPLES:
        _example(example)


def gallery() -> None:
    """The example scans as a visitor first meets them: a slice, what it is, and the button."""
    for column, example in zip(st.columns(len(EXAMPLES)), EXAMPLES, strict=True):
        with column.container(border=True, height="stretch", vertical_alignment="distribute"):
            st.image(_drawing(example.seed).preview, width="stretch", alt=f"A drawn head. {example.words}")
            st.caption(example.words)
            _example(example)


def _example(example: Example) -> None:
    if st.button(example.title, key=f"example-{example.seed}", width="stretch"):
        attachment = Attachment(f"example-{example.seed}.zip", _drawing(example.seed).archive)
        _send(iter([(f"Example: {example.title.lower()}", [attachment])]), None)


@st.cache_resource(max_entries=len(EXAMPLES), show_spinner="Drawing a head …")
def _drawing(seed: int) -> Drawing:
    return draw(by_seed(seed))
