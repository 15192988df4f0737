"""A visitor's actions on the page, and what the page then shows."""

import io
import json
from typing import Any

import numpy as np
from PIL import Image
from streamlit.testing.v1 import AppTest
from tests.fake_gateway import FakeGateway
from tests.integration.page.browser import files_key


def run(at: AppTest) -> AppTest:
    at.run()
    assert not at.exception, at.exception[0].message
    return at


def press(at: AppTest, label: str) -> AppTest:
    next(button for button in at.button if button.label == label).click()
    return run(at)


def has_button(at: AppTest, label: str) -> bool:
    return any(button.label == label for button in at.button)


def page_text(at: AppTest) -> str:
    """All text of the page."""
    parts = [*at.markdown, *at.caption, *at.error, *at.warning, *at.info, *at.html]
    return "\n".join(str(part.value if hasattr(part, "value") else part.proto.body) for part in parts)


def metrics(at: AppTest) -> dict[str, str]:
    return {metric.label: metric.value for metric in at.metric}


def listed_jobs(at: AppTest) -> list[str]:
    """The job ids in the URL; AppTest gives a single one as a string."""
    ids = at.query_params.get("job", [])
    return [ids] if isinstance(ids, str) else list(ids)


def submit_jobs(gateway: FakeGateway, count: int = 1) -> list[str]:
    return [gateway.submit(["slice.png"], None).id for _ in range(count)]


def png(seed: int = 0) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (32, 32), np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def uploader_files(at: AppTest) -> list[tuple[str, bytes]]:
    """The files that are chosen."""
    return at.session_state[_current_files(at)]


def upload(at: AppTest, *files: tuple[str, bytes]) -> AppTest:
    """Choose files, in place of those that were chosen before."""
    at.session_state[_current_files(at)] = list(files)
    return run(at)


def _current_files(at: AppTest) -> str:
    state = at.session_state
    return files_key(state["upload_round"] if "upload_round" in state else 0)  # noqa: SIM401  # AppTest's has no get


def viewer_data(at: AppTest) -> dict[str, Any]:
    """The data that the page sends to its viewer."""
    [component] = at.get("bidi_component")
    return json.loads(component.proto.json)


def watched(at: AppTest) -> str | None:
    """Where the browser waits for the end of a job."""
    data = [json.loads(component.proto.json) for component in at.get("bidi_component")]
    return next((one["wait"] for one in data if "wait" in one), None)
