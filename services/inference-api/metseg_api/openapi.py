"""Additions to the OpenAPI schema that FastAPI derives from the routes: examples, problems, the multipart body."""

from typing import Any, get_args

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from metseg.contracts import (
    DISCLAIMER,
    MAX_LABEL_CHARACTERS,
    MAX_PATIENT_CHARACTERS,
    MODEL_VERSION_PATTERN,
    Align,
    Problem,
    Review,
    SequenceChoice,
)
from metseg.errors import Forbidden, InvalidParameter, MetsegError, NotFinished, NotFound, Unauthorised, Unavailable
from metseg_api.problems import MEDIA_TYPE

Responses = dict[int | str, dict[str, Any]]

DESCRIPTION = f"""
A scan goes in, lesions come out: submit the slices or volumes of one study, wait for the job, fetch measurements,
masks and pictures. **{DISCLAIMER}**

Every error is an `application/problem+json` (RFC 9457) with a stable `type`. A submission with an `Idempotency-Key`
may be repeated as often as needed: the same key with the same files gives the same job.
"""
TAGS = [
    {"name": "jobs", "description": "Submit studies and poll their jobs."},
    {"name": "results", "description": "Measurements, masks, maps and pictures."},
    {"name": "follow-up", "description": "Lesions over two or more studies of a patient."},
    {"name": "models", "description": "The registry: versions, promotion and rollback."},
    {"name": "service", "description": "Liveness, readiness and metrics."},
]
JOB_ID = "019ab3f2c4d87e5f9a60b1c2d3e4f506"
VERSION = "20260101-120000-unetpp"
JOB = {
    "id": JOB_ID,
    "status": "queued",
    "created_at": "2026-01-01T12:00:00Z",
    "files": 2,
    "slices": 2,
    "attempts": 0,
    "queue_position": 1,
}
CHAMPION = {"version": VERSION, "sha256": "9f86d081" * 8, "promoted_at": "2026-01-01T12:30:00Z"}
NO_RESULT = (NotFound, NotFinished, InvalidParameter)
"""The problems of a route that responds with something of a job's result."""
IDEMPOTENCY_KEY_DESCRIPTION = "1 to 255 printable ASCII characters; remembered for a day"

_FILES = {"type": "array", "items": {"type": "string", "format": "binary"}}
UPLOAD: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "description": "`files`, or any of `pre`, `flair` and `post`: one study.",
                    "properties": {
                        "files": _FILES
                        | {"description": "slices in any order, volumes named by their sequence, or a ZIP of either"},
                        "pre": _FILES | {"description": "the pre-contrast volume or its slices"},
                        "flair": _FILES | {"description": "the FLAIR volume or its slices"},
                        "post": _FILES | {"description": "the post-contrast volume or its slices"},
                        "threshold": {"type": "number", "minimum": 0, "maximum": 1, "example": 0.5},
                        "model": {"type": "string", "pattern": MODEL_VERSION_PATTERN, "example": VERSION},
                        "sequence": {
                            "type": "string",
                            "enum": list(get_args(SequenceChoice)),
                            "default": "auto",
                            "description": "of a study of one grey image, whatever its name or header says",
                        },
                        "align": {
                            "type": "string",
                            "enum": list(get_args(Align)),
                            "default": "rigid",
                            "description": "whether volumes on different grids are registered",
                        },
                        "deidentify": {
                            "type": "boolean",
                            "default": False,
                            "description": "removes identities from a DICOM study before anything is stored",
                        },
                        "uncertainty": {
                            "type": "boolean",
                            "default": False,
                            "description": "also predicts mirrored copies of possible lesions and compares them",
                        },
                        "label": {
                            "type": "string",
                            "maxLength": MAX_LABEL_CHARACTERS,
                            "description": "what the submitter calls the study; part of the job, deleted with it",
                        },
                        "patient": {
                            "type": "string",
                            "maxLength": MAX_PATIENT_CHARACTERS,
                            "description": "whose study it is, a pseudonym; default: one made of DICOM's identifiers",
                        },
                        "taken_on": {
                            "type": "string",
                            "format": "date",
                            "description": "when the study was acquired, for follow-up; by default DICOM's StudyDate",
                        },
                    },
                    "additionalProperties": False,
                },
                "encoding": {name: {"style": "form", "explode": True} for name in ("files", "pre", "flair", "post")},
            }
        },
    }
}


def example_response(value: object, headers: tuple[str, ...] = ()) -> dict[str, Any]:
    """A JSON response.

    Args:
        value: an example of its body.
        headers: that it has.

    Returns:
        An OpenAPI response object.
    """
    documented = {name: {"schema": {"type": "string"}} for name in headers}
    return {"content": {"application/json": {"example": value}}, "headers": documented}


def file_responses(*media_types: str) -> Responses:
    """A file with one of the media types, or 304 if the client's copy is current."""
    binary = {"type": "string", "format": "binary"}
    content = {kind: {"schema": {"type": "object"} if kind == "application/json" else binary} for kind in media_types}
    headers = {name: {"schema": {"type": "string"}} for name in ("ETag", "Content-Disposition")}
    return {
        200: {"description": "The file", "content": content, "headers": headers},
        304: {"description": "The client's copy is current"},
    }


def problem_responses(*errors: type[MetsegError], needs_key: bool = True) -> Responses:
    """The problems that a route may respond with, by status.

    Args:
        errors: besides those of every route, which are an unavailable store or queue.
        needs_key: whether the route needs an API key.

    Returns:
        OpenAPI response objects.
    """
    by_status: Responses = {"default": _problem("Any other problem", ())}
    kinds: tuple[type[MetsegError], ...] = (*errors, *((Unauthorised, Forbidden) if needs_key else ()), Unavailable)
    for error in kinds:
        alike = tuple(other for other in kinds if other.status == error.status)
        by_status[error.status] = _problem("; ".join(other.title for other in alike), alike)
    return by_status


def extend_schema(app: FastAPI) -> None:
    """Add the schemas of problems and reviews, which no route declares as its return type or body."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = get_openapi(
                title=app.title,
                version=app.version,
                description=app.description,
                routes=app.routes,
                tags=app.openapi_tags,
                license_info=app.license_info,
            )
            for extra in (Problem, Review):
                schemas = extra.model_json_schema(ref_template="#/components/schemas/{model}")
                schema["components"]["schemas"] |= schemas.pop("$defs", {}) | {extra.__name__: schemas}
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _problem(description: str, errors: tuple[type[MetsegError], ...]) -> dict[str, Any]:
    content: dict[str, Any] = {"schema": {"$ref": "#/components/schemas/Problem"}}
    if errors:
        content["examples"] = {error.__name__: {"value": _example(error)} for error in errors}
    answer: dict[str, Any] = {"description": description, "content": {MEDIA_TYPE: content}}
    if any(error.retry_after_s is not None for error in errors):
        answer["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "description": "seconds"}}
    return answer


def _example(error: type[MetsegError]) -> dict[str, Any]:
    detail = (error.__doc__ or error.title).split("\n")[0]
    return Problem.of(error(detail), instance="urn:metseg:request:4f1c2a").model_dump()
