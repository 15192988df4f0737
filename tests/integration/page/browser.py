"""What the uploader does in a browser, for tests without one: it keeps the files, and sends them as the plan says."""

from collections.abc import Callable, Mapping
from io import BytesIO
from typing import Any
from zipfile import ZipFile

import httpx
import streamlit as st
from starlette.applications import Starlette
from tests.fake_gateway import listening

from metseg_ui import proxy_routes
from metseg_ui.components.uploader import ChosenFile

ANSWERS = "answers of the browser"
Files = list[tuple[str, bytes]]


def files_key(upload_round: int) -> str:
    """Where a visitor's files are in the session's state."""
    return f"files-{upload_round}"


def chosen(upload_round: int) -> list[ChosenFile]:
    return [ChosenFile(name, len(content)) for name, content in st.session_state.get(files_key(upload_round), [])]


def answers(upload_round: int) -> dict[str, Any] | None:
    return st.session_state.get(ANSWERS)


def render(upload_round: int, hint: str, plan: Mapping[str, Any] | None, on_answers: Callable[[], None]) -> None:
    if plan is None:
        return
    files: Files = st.session_state[files_key(upload_round)]
    sent = [send(plan["url"], scan, files) for scan in plan["scans"]]
    st.session_state[ANSWERS] = {"plan": plan["id"], "answers": sent}
    on_answers()
    st.rerun()


def send(url: str, scan: Mapping[str, Any], files: Files) -> dict[str, Any]:
    form = [(part["field"], (part["name"], content(part, files))) for part in scan["parts"]]
    with listening(Starlette(routes=proxy_routes.ROUTES)) as page:
        answer = httpx.post(f"{page}/{url}", data=scan["fields"], files=form, headers={"Idempotency-Key": scan["key"]})
    return {"status": answer.status_code, "headers": dict(answer.headers), "body": answer.text}


def content(part: Mapping[str, Any], files: Files) -> bytes:
    contents = [files[index][1] for index in part["files"]]
    if not part["names"]:
        [single] = contents
        return single
    packed = BytesIO()
    with ZipFile(packed, "w") as archive:
        for name, member in zip(part["names"], contents, strict=True):
            archive.writestr(name, member)
    return packed.getvalue()
