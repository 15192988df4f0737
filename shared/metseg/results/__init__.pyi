from . import exports as exports
from .build import build_artefacts as build_artefacts
from .build import build_result as build_result
from .build import render_slices as render_slices
from .previews import Glimpses as Glimpses
from .slice_archive import PACK as PACK
from .slice_archive import Pack as Pack
