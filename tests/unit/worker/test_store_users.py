"""The set-up gives gateway, worker and trainer separate keys where the server can create users."""

import logging
import stat

import pytest
from tests.admins import ROOT, minio_admin

from metseg.errors import StoreUnavailable
from metseg.settings import Settings
from metseg_worker.store_users import SERVICES, policy, write_keys


@pytest.fixture
def admin():
    with minio_admin() as admin:
        yield admin


def settings(endpoint, **changes):
    root = {"s3_access_key": ROOT[0], "s3_secret_key": ROOT[1], "s3_timeout_s": 2.0}
    return Settings(s3_endpoint=endpoint, **(root | changes))


def keys(folder):
    return {
        each: tuple((folder / each / name).read_text() for name in ("access-key", "secret-key")) for each in SERVICES
    }


def test_each_service_gets_a_user_with_its_own_policy(admin, tmp_path):
    write_keys(settings(admin.endpoint), tmp_path)
    handed = keys(tmp_path)
    assert admin.users == dict(handed.values())
    assert len({secret for _, secret in handed.values()}) == len(SERVICES)
    assert all(8 <= len(secret) <= 40 for _, secret in handed.values()), "what MinIO accepts"
    for service in SERVICES:
        name = handed[service][0]
        assert admin.policies[admin.attached[name]] == policy(service, "metseg")


def test_a_policy_is_for_the_bucket_in_use(admin, tmp_path):
    write_keys(settings(admin.endpoint, s3_bucket="scans"), tmp_path)
    resources = [
        each for document in admin.policies.values() for rule in document["Statement"] for each in rule["Resource"]
    ]
    assert {each.split("/")[0] for each in resources} == {"arn:aws:s3:::scans"}


def test_a_second_set_up_keeps_the_secrets_of_running_services(admin, tmp_path):
    write_keys(settings(admin.endpoint), tmp_path)
    before = keys(tmp_path)
    admin.users.clear()  # a restored store
    write_keys(settings(admin.endpoint), tmp_path)
    assert keys(tmp_path) == before
    assert admin.users == dict(before.values())


def test_only_the_owner_can_read_the_files(admin, tmp_path):
    write_keys(settings(admin.endpoint), tmp_path)
    for file in tmp_path.glob("*/*-key"):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_no_secret_is_logged(admin, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    write_keys(settings(admin.endpoint), tmp_path)
    assert not [secret for _, secret in keys(tmp_path).values() if secret in caplog.text]


def test_a_server_that_does_not_answer_is_unavailable(tmp_path):
    with pytest.raises(StoreUnavailable):
        write_keys(settings("127.0.0.1:9"), tmp_path)


def test_an_unwritable_folder_is_reported_by_name(admin, tmp_path):
    (tmp_path / "gateway").write_text("a file, where a folder should be")
    with pytest.raises(StoreUnavailable, match="gateway cannot be written"):
        write_keys(settings(admin.endpoint), tmp_path)
