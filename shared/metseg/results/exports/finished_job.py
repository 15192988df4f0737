"""What is kept of a job, wherever it lies."""

from datetime import datetime
from typing import Protocol

from metseg.contracts import ModelCard, Result


class Kept(Protocol):
    """A job that succeeded."""

    def result(self) -> Result:
        """Its figures."""

    def card(self) -> ModelCard | None:
        """Of the model that found them; None where it is not known any more."""

    def made_at(self) -> datetime | None:
        """When the job ended; None where that is not known."""

    def get(self, name: str) -> bytes:
        """An artefact by its name, as `build_artefacts` gives them; NotFound."""

    def picture(self, index: int) -> bytes:
        """The PNG of a slice, as `render_slices` gives it; the first is 0; NotFound."""
