"""What every contract is made of, and the problem detail."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from metseg.errors import MetsegError

Probability = Annotated[float, Field(ge=0, le=1)]
Role = Literal["pre", "flair", "post"]
Align = Literal["rigid", "none"]


class Contract(BaseModel):
    """The common ground: immutable, and no unknown field passes silently."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Problem(Contract):
    """A problem detail as of RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    instance: str | None = None

    @classmethod
    def of(cls, error: MetsegError, instance: str | None = None) -> "Problem":
        """The problem that tells of `error`."""
        return cls(type=error.type, title=error.title, status=error.status, detail=error.detail, instance=instance)
