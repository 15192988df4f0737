"""The bare loop: what every server does with a study, without any service around it.

    python -m tests.bench.bare STUDY

reads a number of studies per line from standard input and prints the wall and CPU seconds that they took. Servers of
other projects call the same `Loop`.
"""

import io
import sys
import time
from collections.abc import Callable
from pathlib import Path

from metseg import formats
from metseg.contracts import ModelCard
from metseg.inference import OnnxPredictor, segment
from metseg.parallel import cpu_quota
from metseg.settings import Limits

__all__ = ["STARTER", "Loop", "on_demand"]

STARTER = Path(__file__).parents[2] / "infra/starter-model"


class Loop:
    """Read, prepare, predict and measure, with the model that is served and a thread for each CPU."""

    def __init__(self) -> None:
        card = ModelCard.model_validate_json((STARTER / "card.json").read_bytes())
        self._predictor = OnnxPredictor(card, (STARTER / "model.onnx").read_bytes(), cpu_quota())

    def __call__(self, name: str, content: bytes) -> list[float]:
        """The long diameter of each lesion of an uploaded study, in pixels."""
        uploads = [formats.Upload(name, io.BytesIO(content), None)]
        study = formats.read_volume(uploads, Limits(), threads=cpu_quota())
        return [lesion.long_diameter_px for lesion in segment(study, self._predictor).lesions]


def on_demand(one: Callable[[], object]) -> None:
    """Process one study, then as many as each line of standard input says."""
    one()
    print("ready", flush=True)
    for line in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(int(line)):
            one()
        print(time.perf_counter() - wall, time.process_time() - cpu, flush=True)


def main() -> None:
    """See the module."""
    file, loop = Path(sys.argv[1]), Loop()
    content = file.read_bytes()
    on_demand(lambda: loop(file.name, content))


if __name__ == "__main__":
    main()
