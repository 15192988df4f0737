"""How long models take, measured in turn."""

import time
from collections.abc import Sequence
from statistics import median

from metseg.imaging import Preprocessor, Volume
from metseg.inference import OnnxPredictor
from metseg_trainer.export.onnx_export import middle_slice

__all__ = ["time_in_turns"]

ROUNDS = 11


def time_in_turns(predictors: Sequence[OnnxPredictor], volumes: Sequence[Volume]) -> list[float]:
    """The time of each model on the middle slice of each study; the models take turns, so that other load affects all.

    Args:
        predictors: the models.
        volumes: the studies.

    Returns:
        Median milliseconds per slice, in the order of the models.
    """
    inputs = {
        preprocessing: [middle_slice(Preprocessor(preprocessing).prepare(volume)) for volume in volumes]
        for preprocessing in {predictor.preprocessing for predictor in predictors}
    }
    times: list[list[float]] = [[] for _ in predictors]
    for turn in range(ROUNDS + 1):
        for predictor, own_times in zip(predictors, times, strict=True):
            slices = inputs[predictor.preprocessing]
            started_s = time.perf_counter()
            for tensor in slices:
                predictor(tensor)
            if turn:  # the first call of a session allocates
                own_times.append(1000 * (time.perf_counter() - started_s) / len(slices))
    return [median(own_times) for own_times in times]
