"""The study as a moving picture: one frame a slice, lesions outlined, as WebP."""

from collections.abc import Callable
from io import BytesIO

import numpy as np
from PIL import Image

from metseg.formats import read_mask
from metseg.results.exports.contours import drawn
from metseg.results.exports.finished_job import Kept

SIDE_PX = 512
MOST_FRAMES = 256
FRAME_MS = 90
QUALITY = 75
EFFORT = 2  # of 0 to 6; 4 takes twice as long for a twentieth of the size


def render_animation(kept: Kept) -> bytes:
    """An animated WebP of the study, which every browser plays.

    Memory holds the mask, one slice and what is packed already: frames are drawn as the encoder asks for them. A
    study of more than 256 slices is shown by every second, third and so on.
    """
    mask = read_mask(kept.get("mask.nii.gz"))
    step = -(-len(mask) // MOST_FRAMES)
    indices = range(0, len(mask), step)

    def draw(frame: int) -> Image.Image:
        index = indices[frame]
        return Image.fromarray(np.ascontiguousarray(drawn(kept, index, mask[index], SIDE_PX)))

    target = BytesIO()
    _Frames(draw, len(indices)).save(
        target, "WEBP", save_all=True, duration=FRAME_MS, loop=0, quality=QUALITY, method=EFFORT
    )
    return target.getvalue()


class _Frames(Image.Image):
    """An image of many frames, of which one is held at a time; a list of pictures would hold them all."""

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
