"""What people take away of a job that succeeded, made from what is kept of it.

The gateway makes them from the store when they are asked for, the command line without a server from what it has just
computed: by the same functions, so that both give the same.
"""

from metseg.outputs.film import animation
from metseg.outputs.kept import Kept
from metseg.outputs.maps import as_uploaded, mask, probability, uncertainty
from metseg.outputs.overlays import overlay, overlays
from metseg.outputs.sheet import sheet
from metseg.outputs.tables import lesions_csv, lesions_json

__all__ = [
    "Kept",
    "animation",
    "as_uploaded",
    "lesions_csv",
    "lesions_json",
    "mask",
    "overlay",
    "overlays",
    "probability",
    "sheet",
    "uncertainty",
]
