"""Redis and S3 for the whole run of integration tests; both real."""

from collections.abc import Iterator

import pytest
from tests.servers import RedisServer, S3Server, redis_server, s3_server


@pytest.fixture(scope="session")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("servers")) as server:
        yield server


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3_server(tmp_path_factory.mktemp("servers")) as server:
        yield server
