"""How large slices and stacks may be, checked by their headers before a pixel is decoded."""

from metseg.errors import ImageTooLarge, TooManyFiles, UnusableImage
from metseg.imaging import MIN_SIDE_PX
from metseg.settings import Limits

__all__ = ["check_sides", "check_slice_pixels", "check_stack"]


def check_slice_pixels(rows: int, columns: int, limits: Limits) -> None:
    """Refuse a slice of more pixels than allowed.

    Args:
        rows: of the slice.
        columns: of the slice.
        limits: of one submission.

    Raises:
        ImageTooLarge: it has more.
    """
    if rows * columns > limits.slice_pixels:
        raise ImageTooLarge(
            f"A slice of {rows} x {columns} pixels is larger than the {limits.slice_pixels} pixels allowed; "
            "scale it down."
        )


def check_sides(rows: int, columns: int) -> None:
    """Refuse a slice that is too small for a head.

    Args:
        rows: of the slice.
        columns: of the slice.

    Raises:
        UnusableImage: a side is shorter than 16 pixels.
    """
    if min(rows, columns) < MIN_SIDE_PX:
        raise UnusableImage(f"A slice must be at least {MIN_SIDE_PX} pixels high and wide; upload the whole slice.")


def check_stack(shape: tuple[int, int, int], limits: Limits) -> None:
    """Refuse a stack of more slices or pixels than allowed.

    Args:
        shape: slices, rows, columns.
        limits: of one submission.

    Raises:
        TooManyFiles: it has more slices.
        ImageTooLarge: it has more pixels in all.
    """
    slices, rows, columns = shape
    if slices > limits.slices:
        raise TooManyFiles(f"The study has {slices} slices, {limits.slices} are allowed; submit one series at a time.")
    if slices * rows * columns > limits.volume_pixels:
        raise ImageTooLarge(
            f"The study has {slices} slices of {rows} x {columns} pixels, more than the {limits.volume_pixels} pixels "
            "allowed; scale the slices down."
        )
