"""The served model behind LitServe: python -m tests.bench.serve_litserve PORT."""

import sys

import litserve
from fastapi import UploadFile
from tests.bench.bare import Loop


class Api(litserve.LitAPI):
    """Receives a study as the file `request`, returns the lesions."""

    def setup(self, device: str) -> None:
        """Load the model, in the process that predicts."""
        self._loop = Loop()

    def decode_request(self, request: UploadFile) -> bytes:
        """The uploaded bytes."""
        return request.file.read()

    def predict(self, content: bytes) -> list[float]:
        """What the bare loop does."""
        return self._loop("study.zip", content)

    def encode_response(self, lesions: list[float]) -> dict[str, list[float]]:
        """As JSON."""
        return {"lesions": lesions}


if __name__ == "__main__":
    server = litserve.LitServer(Api(), accelerator="cpu", timeout=False)
    server.run("127.0.0.1", int(sys.argv[1]), log_level="warning", generate_client_file=False)
