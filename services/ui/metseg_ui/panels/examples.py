"""Example scans: synthetic heads with lesions, for visitors without data. They contain no patient data."""

import gzip
from typing import NamedTuple

import nibabel
import numpy as np
import streamlit as st

from metseg import phantom
from metseg.client import Attachment
from metseg.contracts import Role
from metseg.imaging import FLAIR, ROLES, Float64Array, UInt8Array, encode_png
from metseg_ui.panels import submission

SLICES = 16


class Example(NamedTuple):
    """A synthetic head that is one click away."""

    title: str
    description: str
    seed: int
    lesions: int


class ExampleScan(NamedTuple):
    """The files of an example, and a picture of it.

    Attributes:
        volumes: gzipped NIfTI by role.
        preview: a PNG of the FLAIR slice with the largest lesion area, or of the middle one.
    """

    volumes: dict[Role, bytes]
    preview: bytes


EXAMPLES = (
    Example("One large lesion", "A single mass surrounded by oedema.", seed=47, lesions=1),
    Example("Many small lesions", "Typical of metastases: several, some only a few pixels wide.", seed=60, lesions=9),
    Example("No lesion", "A head without lesions: whatever the model marks here is wrong.", seed=31, lesions=0),
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
    volumes = {role: _nifti(pixels[..., channel], head.volume.affine) for channel, role in enumerate(ROLES)}
    return ExampleScan(volumes, encode_png(pixels[best, ..., FLAIR]))


def _submit_button(example: Example) -> None:
    if st.button(example.title, key=f"example-{example.seed}", width="stretch"):
        attachments = [
            Attachment(f"example-{example.seed}-{role}.nii.gz", content, role)
            for role, content in _scan(example).volumes.items()
        ]
        submission.submit_at_once(f"Example: {example.title.lower()}", attachments)


@st.cache_resource(max_entries=len(EXAMPLES), show_spinner="Generating a synthetic head …")
def _scan(example: Example) -> ExampleScan:
    return generate(example)


def _nifti(pixels: UInt8Array, affine: Float64Array | None) -> bytes:
    image = nibabel.Nifti1Image(pixels.T, affine)  # type: ignore[no-untyped-call]
    return gzip.compress(image.to_bytes(), mtime=0)
