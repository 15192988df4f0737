"""Example scans: synthetic heads with lesions, for visitors without data. They contain no patient data."""

import io
import zipfile
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import streamlit as st
from PIL import Image

from metseg import phantom
from metseg.client import Attachment
from metseg_ui.panels import submission

SLICES = 16


class Example(NamedTuple):
    """A synthetic head that is one click away."""

    title: str
    description: str
    seed: int
    lesions: int


class ExampleScan(NamedTuple):
    """The files of an example.

    Attributes:
        archive: a ZIP of PNG slices whose colour channels are pre-contrast, FLAIR and post-contrast.
        preview: a PNG of the FLAIR slice with the largest lesion area, or of the middle one.
    """

    archive: bytes
    preview: bytes


EXAMPLES = (
    Example("One large lesion", "A single mass surrounded by oedema.", seed=47, lesions=1),
    Example("Many small lesions", "Typical of metastases: several, some only a few pixels wide.", seed=60, lesions=9),
    Example("No lesion", "A healthy head, in which the model should mark nothing.", seed=31, lesions=0),
)


def render_buttons() -> None:
    """One button per example."""
    for example in EXAMPLES:
        _submit_button(example)


def render_gallery() -> None:
    """One card per example: a slice, a description and the button."""
    for column, example in zip(st.columns(len(EXAMPLES)), EXAMPLES, strict=True):
        with column.container(border=True, height="stretch", vertical_alignment="distribute"):
            st.image(_scan(example).preview, width="stretch", alt=f"Synthetic head. {example.description}")
            st.caption(example.description)
            _submit_button(example)


def generate(example: Example) -> ExampleScan:
    """Generate an example; the same seed gives the same pixels."""
    head = phantom.head(example.seed, slices=SLICES, lesions=example.lesions)
    pixels = np.asarray(head.volume.pixels, np.uint8)
    areas = head.mask.sum(axis=(1, 2))
    best = int(areas.argmax()) if areas.any() else SLICES // 2
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for index, one in enumerate(pixels):
            archive.writestr(f"example_{index + 1:02d}.png", _png(one))
    return ExampleScan(buffer.getvalue(), _png(pixels[best, :, :, 1]))


def _submit_button(example: Example) -> None:
    if st.button(example.title, key=f"example-{example.seed}", width="stretch"):
        attachment = Attachment(f"example-{example.seed}.zip", _scan(example).archive)
        submission.submit([(f"Example: {example.title.lower()}", [attachment])])


@st.cache_resource(max_entries=len(EXAMPLES), show_spinner="Generating a synthetic head …")
def _scan(example: Example) -> ExampleScan:
    return generate(example)


def _png(pixels: npt.NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()
