"""Slices to learn the core from, where it is known.

- `prepare`, `brisc`, `single_slice_brain`, `store`: LGG and BRISC at model resolution, in memory-mapped files.
- `lesion_model`, `rendering`, `drawing`, `donors`: metastases, drawn into real heads.
- `slices`, `samples`, `config`: augmented patches with the truth that is known.
"""

from metseg_trainer.data.structures.brisc import BriscSlice, read_brisc_index, read_brisc_slice
from metseg_trainer.data.structures.config import StructureSamplingConfig
from metseg_trainer.data.structures.drawing import Canvas
from metseg_trainer.data.structures.lesion_model import draw_diameter_mm, draw_lesion
from metseg_trainer.data.structures.prepare import PREPROCESSING, prepare_brisc, prepare_lgg, prepare_studies
from metseg_trainer.data.structures.rendering import SliceGeometry, render_slice
from metseg_trainer.data.structures.samples import StructureDataset
from metseg_trainer.data.structures.store import BRAIN, WHOLE, StoredStudy

__all__ = [
    "BRAIN",
    "PREPROCESSING",
    "WHOLE",
    "BriscSlice",
    "Canvas",
    "SliceGeometry",
    "StoredStudy",
    "StructureDataset",
    "StructureSamplingConfig",
    "draw_diameter_mm",
    "draw_lesion",
    "prepare_brisc",
    "prepare_lgg",
    "prepare_studies",
    "read_brisc_index",
    "read_brisc_slice",
    "render_slice",
]
