"""The base class of all contracts, the problem detail, and the disclaimer that accompanies every result."""

from typing import Annotated, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from metseg.errors import AmbiguousSeries, MetsegError


def _no_boolean(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("it must be a number")
    return value


Probability = Annotated[float, BeforeValidator(_no_boolean), Field(ge=0, le=1)]
Role = Literal["pre", "flair", "post"]
SequenceChoice = Literal["auto", "pre", "flair", "post"]
"""What a submitter says of the one grey image of a study; `auto`: its name, its header or its pixels decide."""
IdentifiedBy = Literal["stated", "name", "header", "place", "recognised"]
"""What decided which sequence an image is: the submitter, its name, its header, its place in a file, or its pixels."""
Structure = Literal["core", "whole"]
"""`core`: enhancing tumour and what has died inside it; `whole`: the core and the FLAIR abnormality around it."""
STRUCTURES: tuple[Structure, ...] = get_args(Structure)
"""In the order of a model's probability maps."""
Align = Literal["rigid", "none"]
MAX_LABEL_CHARACTERS = 200
MAX_PATIENT_CHARACTERS = 64
"""Of a pseudonym; as many as DICOM allows in a patient's id."""

RESEARCH_ONLY = "Research use only"
DISCLAIMER = f"{RESEARCH_ONLY}. Not a medical device; not for diagnosis or treatment."
SHORT_DISCLAIMER = f"{RESEARCH_ONLY}, not for diagnosis or treatment"
"""For DICOM, whose short texts have 64 characters at most."""


class Contract(BaseModel):
    """The base class: immutable. Unknown fields are ignored, so that a release reads what a newer one has written."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class StrictContract(Contract):
    """For what people write, and for what must not be half understood: unknown fields are errors."""

    model_config = ConfigDict(extra="forbid")


class SeriesInDoubt(Contract):
    """A series of which it is not clear which sequence it is."""

    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True)

    series: int = Field(description="its number in the study")
    description: str = Field(description="kind, plane, size and times, nothing that was typed")
    files: int = Field(description="how many it consists of")
    fields: list[Role] = Field(alias="as", description="the form fields that it may belong in")


class Problem(Contract):
    """A problem detail as defined by RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    instance: str | None = None
    candidates: list[SeriesInDoubt] | None = Field(default=None, description="of /problems/ambiguous-series")

    @classmethod
    def of(cls, error: MetsegError, instance: str | None = None) -> "Problem":
        """The problem that describes an error.

        Args:
            error: with its type, title, status and detail.
            instance: a URI of this occurrence.

        Returns:
            The problem.
        """
        doubtful = error.candidates if isinstance(error, AmbiguousSeries) else ()
        return cls(
            type=error.type,
            title=error.title,
            status=error.status,
            detail=error.detail,
            instance=instance,
            candidates=[SeriesInDoubt.model_validate(one._asdict()) for one in doubtful] or None,
        )
