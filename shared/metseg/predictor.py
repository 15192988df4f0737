"""The Predictor that runs an exported model with onnxruntime: the extra `metseg[onnx]`."""

import math
import os
from pathlib import Path

import numpy as np
import numpy.typing as npt

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # else its wheels report what they run to their maker

import onnxruntime

from metseg.contracts import ModelCard, Preprocessing
from metseg.errors import ModelRejected

INPUT, OUTPUT = "slices", "probability"
"""An exported model maps float32 `slices` (batch, 3, row, column) to `probability` (batch, 1, row, column)."""

_PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")
_CGROUP = Path("/sys/fs/cgroup")


class OnnxPredictor:
    """A model version in service.

    On a CPU each slice is computed by one thread and several slices side by side: small layers leave threads that
    share one slice waiting for each other.

    Args:
        card: of the version; its preprocessing is what `metseg.preprocess` is told.
        model: the bytes of the ONNX file, already checked against the card's checksum.
        threads: that a study may use.

    Attributes:
        card: as given.
        lanes: slices that are computed side by side.

    Raises:
        ModelRejected: onnxruntime cannot load the bytes, or they are of a model with other inputs and outputs.
    """

    def __init__(self, card: ModelCard, model: bytes, threads: int) -> None:
        self.card = card
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        providers = [name for name in _PROVIDERS if name in onnxruntime.get_available_providers()]
        try:
            self._session = onnxruntime.InferenceSession(model, options, providers=providers)
        except Exception as error:  # onnxruntime's own exceptions share no other public base
            raise ModelRejected(f"Model {card.version} cannot be loaded by onnxruntime; export it again.") from error
        self.lanes = threads if self._session.get_providers() == ["CPUExecutionProvider"] else 1
        names = [node.name for node in (*self._session.get_inputs(), *self._session.get_outputs())]
        if names != [INPUT, OUTPUT]:
            raise ModelRejected(f"Model {card.version} has inputs and outputs {names}, not {[INPUT, OUTPUT]}.")

    @property
    def preprocessing(self) -> Preprocessing:
        """As the model was trained with."""
        return self.card.preprocessing

    @property
    def threshold(self) -> float:
        """As chosen when the model was trained."""
        return self.card.threshold

    @property
    def smallest_lesion_px(self) -> float:
        """As chosen when the model was trained."""
        return self.card.smallest_lesion_px

    def __call__(self, tensor: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Lesion probability in [0, 1], (slice, row, column), of a (slice, row, column, channel) input."""
        slices = np.ascontiguousarray(tensor.transpose(0, 3, 1, 2))
        [probability] = self._session.run([OUTPUT], {INPUT: slices})
        return np.asarray(probability, np.float32)[:, 0]


def cpu_quota() -> int:
    """Whole CPUs that this container may use: its cgroup's quota, or the CPUs it may run on if there is none."""
    usable = len(os.sched_getaffinity(0))
    quota = _cgroup_quota()
    return usable if quota is None else max(1, min(usable, math.ceil(quota)))


def _cgroup_quota() -> float | None:
    """CPUs that cgroup v2, or else v1, grants; None where it sets no limit."""
    unified = _CGROUP / "cpu.max"
    if unified.is_file():
        granted, period = unified.read_text().split()
        return None if granted == "max" else int(granted) / int(period)
    v1 = _CGROUP / "cpu" / "cpu.cfs_quota_us"
    if v1.is_file() and (microseconds := int(v1.read_text())) > 0:
        return microseconds / int((_CGROUP / "cpu" / "cpu.cfs_period_us").read_text())
    return None
