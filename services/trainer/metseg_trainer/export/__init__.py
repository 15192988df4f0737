"""From a trained network to a deployed version.

- `onnx_export`, `quantise`, `variants`: derivatives of a network without further training.
- `frontier`, `model_selection`: the choice of the variant to serve.
- `model_card`, `out_of_distribution`: the description of a version.
- `structures`, `structure_variants`, `composition`: the same for a network of the core, joined with a model of the
  whole.
- `publish`, `promotion`: the registry, and whether a version becomes the champion.
"""

from metseg_trainer.export.frontier import compare_variants
from metseg_trainer.export.model_card import KNOWN_CORES, MARKDOWN, describe_data, describe_structure_data
from metseg_trainer.export.model_selection import format_frontier
from metseg_trainer.export.onnx_export import sequence_classifier_to_onnx
from metseg_trainer.export.out_of_distribution import update_card
from metseg_trainer.export.promotion import PromotionPolicy, compare_patients, compare_structures, decide_promotion
from metseg_trainer.export.publish import export_winner, publish_version
from metseg_trainer.export.structure_variants import format_variants
from metseg_trainer.export.structures import ExportedStructures, export_structures, read_whole

__all__ = [
    "KNOWN_CORES",
    "MARKDOWN",
    "ExportedStructures",
    "PromotionPolicy",
    "compare_patients",
    "compare_structures",
    "compare_variants",
    "decide_promotion",
    "describe_data",
    "describe_structure_data",
    "export_structures",
    "export_winner",
    "format_frontier",
    "format_variants",
    "publish_version",
    "read_whole",
    "sequence_classifier_to_onnx",
    "update_card",
]
