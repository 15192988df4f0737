"""The served model behind BentoML: bentoml serve tests.bench.serve_bentoml:Bento."""

from pathlib import Path

import bentoml
from tests.bench.bare import Loop


@bentoml.service(workers=1, traffic={"timeout": 3600})
class Bento:
    """Receives a study as the file `request`, returns the lesions."""

    def __init__(self) -> None:
        self._loop = Loop()

    @bentoml.api
    def predict(self, request: Path) -> dict[str, list[float]]:
        """What the bare loop does."""
        return {"lesions": self._loop("study.zip", request.read_bytes())}
