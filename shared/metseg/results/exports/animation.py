"""The study as an animated WebP: one frame per slice, lesions outlined."""

from collections.abc import Iterator
from itertools import islice
from typing import BinaryIO

import numpy as np
from PIL import Image

from metseg.formats import FrameSequence, StoredSlices
from metseg.results.exports.contours import render_contours
from metseg.results.exports.finished_job import FinishedJob

SIDE_PX = 512
MAX_FRAMES = 256
FRAME_MS = 90
QUALITY = 75
EFFORT = 2  # of 0 to 6; 4 takes twice as long and saves a twentieth of the size


def render_animation(job: FinishedJob, target: BinaryIO) -> None:
    """Write an animated WebP of the study, which every browser plays.

    Memory holds one slice and the frames that are encoded already: each frame is drawn when the encoder asks for it. Of
    a study of more than 256 slices only every second, third and so on is shown.

    Args:
        job: a finished job.
        target: where the file is written.
    """
    with job.open_artefact("mask.nii.gz") as stored:
        mask = StoredSlices(stored)
        step = -(-mask.shape[0] // MAX_FRAMES)
        frames = FrameSequence(_frames(job, mask, step), -(-mask.shape[0] // step))
        frames.save(target, "WEBP", save_all=True, duration=FRAME_MS, loop=0, quality=QUALITY, method=EFFORT)


def _frames(job: FinishedJob, mask: StoredSlices, step: int) -> Iterator[Image.Image]:
    for index, marked in islice(enumerate(mask), 0, None, step):
        yield Image.fromarray(np.ascontiguousarray(render_contours(job, index, marked > 0, SIDE_PX)))
