from . import exports as exports
from .build import build_artefacts as build_artefacts
from .build import build_result as build_result
from .build import render_slices as render_slices
from .previews import Previews as Previews
from .slice_archive import SLICE_ARCHIVE as SLICE_ARCHIVE
from .slice_archive import SliceArchive as SliceArchive
from .slice_archive import write_slice_archive as write_slice_archive
