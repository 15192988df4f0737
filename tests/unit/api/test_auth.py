"""API keys: file, hashes and scopes; and the refusal to start without keys on a public address."""

import hashlib
import json

import pytest

from metseg.errors import Forbidden, InvalidParameter, Unauthorised
from metseg.jobs import ANONYMOUS, new_job_id, owner_tag
from metseg_api import auth
from metseg_api.auth import ApiKey, Keyring, main, require_keys_if_exposed


def entry(name, key, *scopes):
    return {"name": name, "sha256": hashlib.sha256(key.encode()).hexdigest(), "scopes": list(scopes)}


@pytest.fixture
def keyring(tmp_path):
    file = tmp_path / "keys.json"
    file.write_text(json.dumps([entry("ward", "one", "submit", "read"), entry("head", "two", "admin")]))
    return Keyring.read(file)


def test_without_a_key_file_everyone_has_all_scopes_and_owns_nothing():
    caller = Keyring.read(None).authenticate(None)
    for scope in ("submit", "read", "admin"):
        caller.require(scope)
    assert (caller.name, caller.tag, caller.visible_tag) == (None, ANONYMOUS, None)


def test_a_key_is_revoked_once_its_entry_is_removed(keyring, tmp_path, monkeypatch):
    monkeypatch.setattr(auth, "CHECK_FILE_EVERY_S", 0)
    (tmp_path / "keys.json").write_text(json.dumps([entry("head", "three", "admin")]))
    assert keyring.authenticate("three").name == "head"
    for key in ("one", "two"):
        with pytest.raises(Unauthorised):
            keyring.authenticate(key)


@pytest.mark.parametrize("content", ["[{", None], ids=["damaged", "missing"])
def test_a_keys_file_that_becomes_unreadable_changes_nothing(keyring, tmp_path, monkeypatch, caplog, content):
    monkeypatch.setattr(auth, "CHECK_FILE_EVERY_S", 0)
    file = tmp_path / "keys.json"
    file.unlink() if content is None else file.write_text(content)
    assert keyring.authenticate("one").name == "ward"
    assert "stay as they were" in caplog.text


def test_a_key_is_known_by_its_hash(keyring):
    assert keyring.authenticate("one").name == "ward"
    assert keyring.authenticate("two").name == "head"


@pytest.mark.parametrize("key", [None, "", "three", "ONE", hashlib.sha256(b"one").hexdigest(), "\N{SNOWMAN}"])
def test_any_other_key_is_refused(keyring, key):
    with pytest.raises(Unauthorised):
        keyring.authenticate(key)


def test_a_key_is_limited_to_its_scopes(keyring):
    caller = keyring.authenticate("one")
    caller.require("submit")
    caller.require("read")
    with pytest.raises(Forbidden, match="`admin`"):
        caller.require("admin")


def test_an_admin_may_do_all(keyring):
    for scope in ("submit", "read", "admin"):
        keyring.authenticate("two").require(scope)


def test_a_job_is_seen_by_its_owner_and_by_admins(keyring):
    ward, head = keyring.authenticate("one"), keyring.authenticate("two")
    assert ward.may_see(new_job_id(owner_tag("ward")))
    assert not ward.may_see(new_job_id(owner_tag("head")))
    assert not ward.may_see(new_job_id())
    assert all(head.may_see(new_job_id(whose)) for whose in (ANONYMOUS, owner_tag("ward"), owner_tag("head")))


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{}",
        '[{"name": "a"}]',
        json.dumps([entry("Ward 3", "x", "read")]),
        json.dumps([entry("a", "x")]),
        json.dumps([entry("a", "x", "write")]),
        json.dumps([entry("a", "x", "read"), entry("a", "y", "read")]),
        json.dumps([entry("a", "x", "read"), entry("b", "x", "read")]),
    ],
)
def test_a_file_without_keys_is_refused(tmp_path, content):
    file = tmp_path / "keys.json"
    file.write_text(content)
    with pytest.raises(InvalidParameter, match=r"keys\.json"):
        Keyring.read(file)


def test_a_missing_key_file_is_refused(tmp_path):
    with pytest.raises(InvalidParameter, match="JSON list"):
        Keyring.read(tmp_path / "none.json")


def test_a_new_key_is_long_and_its_entry_fits_the_file(capsys, tmp_path):
    main(["ward-3", "submit", "read"])
    key, made = (line.split(maxsplit=4)[-1] for line in capsys.readouterr().out.splitlines())
    made = made.removeprefix("file:").strip()
    assert len(key) >= 43
    assert key not in made
    (tmp_path / "keys.json").write_text(f"[{made}]")
    assert Keyring.read(tmp_path / "keys.json").authenticate(key).name == "ward-3"
    assert ApiKey.model_validate_json(made).scopes == {"submit", "read"}


@pytest.mark.parametrize("words", [["Ward 3", "read"], ["ward", "write"], ["ward"]])
def test_a_key_needs_a_name_and_a_scope(words, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(words)
    assert "key" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("addresses", "published"),
    [
        (["127.0.0.1"], ""),
        (["::1", "localhost"], ""),
        (["/run/gateway.sock"], ""),
        (["0.0.0.0"], "127.0.0.1"),
        (["0.0.0.0"], "::1"),
    ],
)
def test_a_gateway_on_loopback_may_be_open(addresses, published):
    require_keys_if_exposed(addresses, published)


@pytest.mark.parametrize(
    ("addresses", "published"),
    [(["0.0.0.0"], ""), (["127.0.0.1", "192.0.2.7"], ""), (["::"], ""), (["0.0.0.0"], "0.0.0.0"), (["here"], "")],
)
def test_a_public_gateway_may_not_be_open(addresses, published):
    with pytest.raises(SystemExit, match="METSEG_API_KEYS_FILE"):
        require_keys_if_exposed(addresses, published)
