"""Behaviour specific to the S3 store, and its errors when the server fails."""

import threading
import time

import pytest
from tests.integration.stores import CALLS, Endless, calls, keys, s3_store
from tests.servers import free_ports

from metseg.errors import StoreUnavailable
from metseg.settings import MIB


def test_the_lifecycle_rules_expire_jobs_and_keys_and_nothing_else(s3):
    store = s3_store(s3, "lifecycle")
    store.prepare(job_days=9)
    rules = store._client.get_bucket_lifecycle("lifecycle").rules
    assert {rule.rule_filter.prefix: rule.expiration.days for rule in rules} == {"jobs/": 39, "open/": 39, "keys/": 2}
    assert {rule.status for rule in rules} == {"Enabled"}


def test_two_concurrent_set_ups_both_succeed(s3):
    stores = [s3_store(s3, "contended") for _ in range(6)]
    failures = []

    def prepare(store):
        try:
            store.prepare(7)
        except StoreUnavailable as error:
            failures.append(error)

    threads = [threading.Thread(target=prepare, args=[store]) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    stores[0].check()


@pytest.mark.parametrize("call", CALLS)
def test_a_closed_port_is_store_unavailable_within_seconds(s3, call):
    store = s3_store(s3, endpoint=f"127.0.0.1:{free_ports(1)[0]}")
    begun = time.monotonic()
    with pytest.raises(StoreUnavailable):
        calls(store)[call]()
    assert time.monotonic() - begun < 10


@pytest.mark.parametrize("call", ["put", "get", "check"])
def test_a_hung_server_is_store_unavailable_in_time_and_usable_afterwards(s3, call):
    store = s3_store(s3, timeout_s=0.3)
    s3_store(s3).prepare(7)
    s3_store(s3).put("x/a", b"1")
    store.get("x/a")
    with s3.paused():
        begun = time.monotonic()
        with pytest.raises(StoreUnavailable):
            calls(store)[call]()
        assert time.monotonic() - begun < 10
    assert s3_store(s3).get("x/a") == b"1"


@pytest.mark.parametrize("call", CALLS)
def test_a_wrong_secret_is_store_unavailable(s3, call):
    with pytest.raises(StoreUnavailable):
        calls(s3_store(s3, secret_key="wrong"))[call]()


def test_a_read_only_key_changes_nothing(s3):
    writer, reader = s3_store(s3), s3_store(s3, access_key=s3.reader_access_key)
    writer.prepare(7)
    writer.put("x/a", b"1")
    assert reader.get("x/a") == b"1"
    assert keys(reader, "x/") == ["x/a"]
    for call in ("put", "delete", "prepare"):
        with pytest.raises(StoreUnavailable):
            calls(reader)[call]()
    with pytest.raises(StoreUnavailable):
        s3_store(s3, "not-yet", access_key=s3.reader_access_key).prepare(7)
    assert writer.get("x/a") == b"1"


def test_a_missing_bucket_is_store_unavailable_not_a_missing_object(s3):
    store = s3_store(s3, "never-made")
    for call in ("get", "list", "check"):
        with pytest.raises(StoreUnavailable):
            calls(store)[call]()


def test_a_connection_cut_within_an_object_is_store_unavailable(s3):
    store = s3_store(s3, timeout_s=0.5)
    store.prepare(7)
    s3_store(s3).put("x/big", Endless(64 * MIB))  # with the default timeout
    with store.stream("x/big") as chunks:
        next(chunks)
        with s3.paused(), pytest.raises(StoreUnavailable):
            list(chunks)
