"""Requests that fit the OpenAPI description, and many that do not, are answered as described."""

from pathlib import Path

import numpy as np
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase
from hypothesis import settings as hypothesis_settings
from schemathesis.checks import (
    content_type_conformance,
    not_a_server_error,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from tests.gateways import png, promote_tiny, running

from metseg.settings import Settings
from metseg_api.app import create_app

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
schema = schemathesis.openapi.from_dict(create_app(Settings(store_directory=Path("unused"))).openapi())
known: list[str] = []
"""Jobs that exist, so that not all calls end at an unknown id."""


@schema.hook
def map_path_parameters(context, parameters):
    if parameters and "job_id" in parameters and known and len(parameters["job_id"]) % 4:
        return parameters | {"job_id": known[len(parameters["job_id"]) % len(known)]}
    return parameters


@schema.hook
def map_query(context, query):
    """A wait need not be long."""
    if query and isinstance(query.get("wait"), int | float) and query["wait"] > 0.05:
        return query | {"wait": 0.05}
    return query


@pytest.fixture(scope="module")
def gateway(tmp_path_factory, redis):
    redis.flush()
    folder = tmp_path_factory.mktemp("schema")
    with running(Settings(store_directory=folder / "store", **redis.settings())) as gateway:
        promote_tiny(gateway.store)
        done = gateway.accepted(png())
        gateway.succeed(done.id, np.eye(32, dtype=bool)[np.newaxis], ("slice_0",))
        known[:] = [done.id, gateway.accepted(png(1)).id]
        yield gateway


@schema.parametrize()
@hypothesis_settings(
    max_examples=8,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_every_call_is_answered_as_described(gateway, case):
    case.call_and_validate(base_url=gateway.url, checks=CHECKS, timeout=60)
