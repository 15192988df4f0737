"""The study as an animated WebP: one frame per slice, lesions outlined."""

from collections.abc import Callable
from io import BytesIO

import numpy as np
from PIL import Image

from metseg.formats import read_mask
from metseg.results.exports.contours import render_contours
from metseg.results.exports.finished_job import FinishedJob

SIDE_PX = 512
MAX_FRAMES = 256
FRAME_MS = 90
QUALITY = 75
EFFORT = 2  # of 0 to 6; 4 takes twice as long and saves a twentieth of the size


def render_animation(job: FinishedJob) -> bytes:
    """An animated WebP of the study, which every browser plays.

    Memory holds the mask, one slice and the frames that are encoded already: each frame is drawn when the encoder asks
    for it. Of a study of more than 256 slices only every second, third and so on is shown.
    """
    mask = read_mask(job.artefact("mask.nii.gz"))
    step = -(-len(mask) // MAX_FRAMES)
    indices = range(0, len(mask), step)

    def draw(frame: int) -> Image.Image:
        index = indices[frame]
        return Image.fromarray(np.ascontiguousarray(render_contours(job, index, mask[index], SIDE_PX)))

    target = BytesIO()
    _Frames(draw, len(indices)).save(
        target, "WEBP", save_all=True, duration=FRAME_MS, loop=0, quality=QUALITY, method=EFFORT
    )
    return target.getvalue()


class _Frames(Image.Image):
    """An image of many frames that holds one at a time; Pillow's `append_images` would hold them all."""

    def __init__(self, draw: Callable[[int], Image.Image], frames: int) -> None:
        super().__init__()
        self._draw = draw
        self.n_frames = frames
        self.seek(0)

    def seek(self, frame: int) -> None:
        """Draw a frame."""
        picture = self._draw(frame)
        self.im, self._size, self._mode, self._frame = picture.im, picture.size, picture.mode, frame

    def tell(self) -> int:
        """The frame that is drawn."""
        return self._frame
