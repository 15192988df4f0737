"""Secrets come from the environment or from files, and an unreadable file stops the start with one sentence."""

import pytest

from metseg.settings import Limits, Settings


@pytest.fixture(autouse=True)
def _bare(monkeypatch):
    for name in ("S3_ACCESS_KEY", "S3_SECRET_KEY", "API_KEY"):
        monkeypatch.delenv(f"METSEG_{name}", raising=False)
        monkeypatch.delenv(f"METSEG_{name}_FILE", raising=False)


@pytest.mark.parametrize("field", ["s3_access_key", "s3_secret_key", "api_key"])
def test_a_secret_is_read_from_a_file(field, tmp_path, monkeypatch):
    (tmp_path / "secret").write_text("of the file\n")
    monkeypatch.setenv(f"METSEG_{field.upper()}_FILE", str(tmp_path / "secret"))
    value = getattr(Settings(), field)
    assert (value if isinstance(value, str) else value.get_secret_value()) == "of the file"


def test_the_variable_takes_precedence_over_its_file(tmp_path, monkeypatch):
    (tmp_path / "secret").write_text("of the file")
    monkeypatch.setenv("METSEG_API_KEY_FILE", str(tmp_path / "secret"))
    monkeypatch.setenv("METSEG_API_KEY", "of the variable")
    assert Settings().api_key.get_secret_value() == "of the variable"


def test_an_empty_variable_defers_to_the_file(tmp_path, monkeypatch):
    (tmp_path / "secret").write_text("of the file")
    monkeypatch.setenv("METSEG_API_KEY_FILE", str(tmp_path / "secret"))
    monkeypatch.setenv("METSEG_API_KEY", "")
    assert Settings().api_key.get_secret_value() == "of the file"


def test_an_unreadable_secret_file_is_named_with_its_variable(tmp_path, monkeypatch):
    monkeypatch.setenv("METSEG_S3_SECRET_KEY_FILE", str(tmp_path / "nothing"))
    with pytest.raises(SystemExit, match=r"metseg: METSEG_S3_SECRET_KEY_FILE names .*nothing, which cannot be read"):
        Settings()


def test_printed_settings_show_no_secret(tmp_path, monkeypatch):
    (tmp_path / "secret").write_text("hidden-in-a-file")
    monkeypatch.setenv("METSEG_S3_SECRET_KEY_FILE", str(tmp_path / "secret"))
    monkeypatch.setenv("METSEG_API_KEY", "hidden-in-a-variable")
    assert "hidden" not in repr(Settings())


def test_an_https_store_url_means_tls():
    outside, inside = Settings(s3_endpoint="https://s3.example.org/"), Settings(s3_endpoint="store:9000")
    assert (outside.s3_host, outside.s3_secure) == ("s3.example.org", True)
    assert (inside.s3_host, inside.s3_secure) == ("store:9000", False)


def test_upload_size_is_the_only_limit_set_by_the_environment(monkeypatch):
    monkeypatch.setenv("METSEG_LIMIT_UPLOAD_BYTES", "1000")
    monkeypatch.setenv("METSEG_LIMIT_FILES", "1")
    monkeypatch.setenv("METSEG_REDIS_TIMEOUT_S", "99")
    chosen = Settings()
    assert chosen.limits == Limits(upload_bytes=1000)
    assert chosen.redis_timeout_s == 5.0
