"""What people take away of a job that succeeded, made from what is kept of it.

The gateway makes them from the store when they are asked for, the command line without a server from what it has just
computed: by the same functions, so that both give the same.
"""

from metseg.results.exports.animation import render_animation
from metseg.results.exports.finished_job import Kept
from metseg.results.exports.maps import as_uploaded, mask, probability, uncertainty
from metseg.results.exports.overlays import overlay, overlays
from metseg.results.exports.report_page import sheet
from metseg.results.exports.tables import lesions_csv, lesions_json

__all__ = [
    "Kept",
    "as_uploaded",
    "lesions_csv",
    "lesions_json",
    "mask",
    "overlay",
    "overlays",
    "probability",
    "render_animation",
    "sheet",
    "uncertainty",
]
