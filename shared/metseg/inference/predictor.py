"""The Predictor that runs an exported model with onnxruntime: the extra `metseg[onnx]`."""

import logging
import os
import tempfile
from collections.abc import Mapping

import numpy as np

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # else its wheels report what they run to their maker

import onnxruntime

from metseg.contracts import STRUCTURES, ModelCard, OperatingPoint, Preprocessing, Structure
from metseg.errors import ModelRejected
from metseg.imaging import Float32Array

log = logging.getLogger(__name__)

INPUT, OUTPUT = "slices", "probability"
"""An exported model maps float32 `slices` (batch, 3, row, column) to `probability` (batch, structure, row, column)."""

BATCH_SIZE = 16
"""Slices of one call on a GPU; a call with fewer is padded, so that TensorRT plans one shape only."""
_TENSORRT = {
    "trt_profile_min_shapes": f"{INPUT}:{BATCH_SIZE}x3x16x16",
    "trt_profile_opt_shapes": f"{INPUT}:{BATCH_SIZE}x3x128x128",
    "trt_profile_max_shapes": f"{INPUT}:{BATCH_SIZE}x3x512x512",
    "trt_engine_cache_enable": "1",
    "trt_engine_cache_path": tempfile.gettempdir(),
}
"""One engine for head boxes of every size, built once."""
_PROVIDERS: dict[str, dict[str, str]] = {
    "TensorrtExecutionProvider": _TENSORRT,
    "CUDAExecutionProvider": {},
    "CPUExecutionProvider": {},
}
"""The providers to use where they are available, the fastest first."""
_ACCELERATORS = {"TensorrtExecutionProvider": "cuda", "CUDAExecutionProvider": "cuda"}
"""Providers that compute on a GPU, and what onnxruntime calls its memory."""


class OnnxPredictor:
    """A model version in service.

    On a CPU each slice is computed by one thread and several slices concurrently: layers are small, so threads that
    shared a slice would wait for each other. A GPU takes batches of one size, whose input and output stay bound to its
    memory as long as studies have one shape.

    Args:
        card: of the version; its preprocessing is the contract of `metseg.imaging.Preprocessor`.
        model: the bytes of the ONNX file, already checked against the card's checksum.
        threads: that a study may use.

    Attributes:
        card: as given.
        max_concurrency: how many calls may run concurrently.
        batch_size: how many slices a call should have.

    Raises:
        ModelRejected: onnxruntime cannot load the bytes, or they are of a model with other inputs and outputs.
    """

    def __init__(self, card: ModelCard, model: bytes, threads: int) -> None:
        self.card = card
        available = onnxruntime.get_available_providers()
        providers = [(name, options) for name, options in _PROVIDERS.items() if name in available]
        if "CUDAExecutionProvider" in available:
            onnxruntime.preload_dlls()  # CUDA and cuDNN come as wheels, in folders where the loader does not look
        try:
            self._session = onnxruntime.InferenceSession(model, _one_thread(), providers=providers)
        except Exception as error:  # onnxruntime's own exceptions share no other public base
            raise ModelRejected(f"Model {card.version} cannot be loaded by onnxruntime; export it again.") from error
        self._device = _ACCELERATORS.get(self._session.get_providers()[0])
        if self._device is None and _ACCELERATORS.keys() & set(available):
            log.warning("no usable GPU: the model computes on the CPU", extra={"model": card.version})
        self._bound: _BoundBatch | None = None
        self.max_concurrency, self.batch_size = (threads, 1) if self._device is None else (1, BATCH_SIZE)
        names = [node.name for node in (*self._session.get_inputs(), *self._session.get_outputs())]
        if names != [INPUT, OUTPUT]:
            raise ModelRejected(f"Model {card.version} has inputs and outputs {names}, not {[INPUT, OUTPUT]}.")
        maps = self._session.get_outputs()[0].shape[1]
        if maps != len(card.operating_points):
            raise ModelRejected(f"Model {card.version} gives {maps} maps; its card names {len(card.operating_points)}.")

    @property
    def preprocessing(self) -> Preprocessing:
        """The contract that the model was trained with."""
        return self.card.preprocessing

    @property
    def operating_points(self) -> Mapping[Structure, OperatingPoint]:
        """As chosen when the model was trained; in the order of the model's maps."""
        points = self.card.operating_points
        return {structure: points[structure] for structure in STRUCTURES if structure in points}

    def __call__(self, tensor: Float32Array) -> Float32Array:
        """Probabilities in [0, 1], (structure, slice, row, column), of a (slice, row, column, channel) input."""
        slices = np.ascontiguousarray(tensor.transpose(0, 3, 1, 2))
        if self._device is not None:
            parts = [slices[first : first + BATCH_SIZE] for first in range(0, len(slices), BATCH_SIZE)]
            bound = self._bound_to(self._device, slices.shape[2:])
            return np.concatenate([bound(part) for part in parts], axis=1)
        [probability] = self._session.run([OUTPUT], {INPUT: slices})
        return np.asarray(probability, np.float32).transpose(1, 0, 2, 3)

    def _bound_to(self, device: str, sides: tuple[int, ...]) -> "_BoundBatch":
        """Input and output for slices of this size, made again where the last call had another."""
        if self._bound is None or self._bound.sides != sides:
            self._bound = _BoundBatch(self._session, device, len(self.card.operating_points), sides)
        return self._bound


def cpu_session(model: bytes) -> onnxruntime.InferenceSession:
    """A session that computes by one thread of a CPU, for small networks.

    Args:
        model: the bytes of an ONNX file.

    Returns:
        The session.
    """
    return onnxruntime.InferenceSession(model, _one_thread(), providers=["CPUExecutionProvider"])


def _one_thread() -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return options


class _BoundBatch:
    """Input and output of one batch in a device's memory: a call copies slices there and maps back, nothing else.

    Args:
        session: of the model.
        device: as onnxruntime calls it.
        structures: maps that the model gives.
        sides: rows and columns of the slices.
    """

    def __init__(
        self, session: onnxruntime.InferenceSession, device: str, structures: int, sides: tuple[int, ...]
    ) -> None:
        self.sides = sides
        self._session = session
        self._whole = np.zeros((BATCH_SIZE, 3, *sides), np.float32)
        value = onnxruntime.OrtValue
        self._input = value.ortvalue_from_numpy(self._whole.copy(), device, 0)
        self._output = value.ortvalue_from_shape_and_type((BATCH_SIZE, structures, *sides), np.float32, device, 0)
        self._binding = session.io_binding()
        self._binding.bind_ortvalue_input(INPUT, self._input)
        self._binding.bind_ortvalue_output(OUTPUT, self._output)

    def __call__(self, slices: Float32Array) -> Float32Array:
        """Probabilities, (structure, slice, row, column), of (slice, channel, row, column); a batch at most."""
        self._whole[: len(slices)] = slices
        self._whole[len(slices) :] = 0
        self._input.update_inplace(self._whole)
        self._session.run_with_iobinding(self._binding)
        return np.array(self._output.numpy()[: len(slices)].transpose(1, 0, 2, 3), np.float32)
