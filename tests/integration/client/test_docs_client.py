"""docs/client.md is run as written: its commands, its Python, its tables."""

import contextlib
import io
import re
import shlex
import zipfile
from pathlib import Path

import pytest
from tests.hospital import hospital, study
from tests.integration.studies import phantom_files
from tests.models import VERSION

from metseg.cli.exit_codes import ExitCode
from metseg.cli.formats import DEFAULT
from metseg.cli.main import _parser, main
from metseg.results.exports import EXPORTS

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docs/client.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
PUBLISHED = "http://127.0.0.1:8000"


def blocks(kind):
    return [body for found, body in BLOCKS if found == kind]


@pytest.fixture
def server(tmp_path, redis, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study(tmp_path / "scans/patient-1")
    study(tmp_path / "scans/patient-2", seed=8)
    study(tmp_path / "scans/january")
    study(tmp_path / "scans/april", seed=8)
    (tmp_path / "infra").symlink_to(ROOT / "infra")
    with hospital(tmp_path / "server", redis.database(3)) as server:
        monkeypatch.setenv("METSEG_GATEWAY_URL", server.url)
        yield server


def test_every_command_does_what_it_says(server, tmp_path, capsys):
    job = server.gateway.accepted(*phantom_files(1).values()).id
    lines = [line for body in blocks("bash") for line in body.splitlines()]
    assert len(lines) > 10
    for line in lines:
        command, *words = shlex.split(line.replace("$JOB", job).replace("$VERSION", VERSION))
        assert command == "metseg"
        words = [each for word in words for each in (sorted(map(str, Path().glob(word))) if "*" in word else [word])]
        if words[0] in ("watch", "followup"):  # which would not end, and which these slices have no position for
            _parser().parse_args(words)
            continue
        assert main(words) == 0, (line, capsys.readouterr().err)
    assert (tmp_path / "results/patient-2/animation.webp").is_file()
    assert (tmp_path / "local/patient-1/report.html").is_file()


def test_the_python_runs(server, tmp_path):
    with zipfile.ZipFile(tmp_path / "scans/patient-3.zip", "w") as archive:
        for name, content in phantom_files(2, size_px=64).items():
            archive.writestr(name, content)
    said = io.StringIO()
    for body in blocks("python"):
        assert PUBLISHED in body
        with contextlib.redirect_stdout(said):
            exec(compile(body.replace(PUBLISHED, server.url), "docs/client.md", "exec"), {})
    assert "404 /problems/not-found" in said.getvalue()
    assert (tmp_path / "patient-3.zip.nii.gz").read_bytes()


def test_every_format_and_every_status_is_listed():
    rows = re.findall(r"^\| ((?:`[a-z][a-z-]*`(?:, )?)+) \| (.*) \|$", TEXT, re.MULTILINE)
    listed = {name for names, _ in rows for name in re.findall(r"`([a-z-]+)`", names)}
    assert listed == set(EXPORTS)
    for name in EXPORTS:
        assert f"`{EXPORTS[name].file_name}`" in next(files for names, files in rows if f"`{name}`" in names)
    assert f"`{DEFAULT}`" in TEXT
    assert {int(status) for status in re.findall(r"^\| (\d+) \|", TEXT, re.MULTILINE)} == set(ExitCode)
