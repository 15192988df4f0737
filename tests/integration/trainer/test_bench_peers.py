"""The bench against other libraries' networks, on phantoms; smp needs another environment and is left out here."""

import json

import pytest
import torch
from tests.bench import bench_peers
from tests.bench.peers import PEERS

from metseg_trainer.data import read_split
from metseg_trainer.networks import NETWORKS, create_network

MONAI = ("monai-attention-unet", "monai-nested-unet")
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning", "ignore::DeprecationWarning")


@pytest.fixture
def registered(monkeypatch):
    for name in MONAI:
        monkeypatch.setitem(NETWORKS, name, PEERS[name])


@pytest.mark.parametrize("name", MONAI)
@pytest.mark.parametrize("size", [(64, 48), (77, 51)])
def test_a_peer_takes_any_size_as_ours_do(registered, name, size):
    branches = create_network(name, base_width=4).eval().supervised_outputs(torch.randn(2, 3, *size))
    assert {tuple(logits.shape) for logits in branches} == {(2, 1, *size)}
    assert len(branches) == (4 if name == "monai-nested-unet" else 1)


@pytest.mark.parametrize(("ours", "peer"), [("attention-unet", MONAI[0]), ("nested-unet", MONAI[1])])
def test_a_peer_is_as_large_as_ours(registered, ours, peer):
    sizes = [
        sum(weight.numel() for weight in create_network(name, base_width=16).parameters()) for name in (ours, peer)
    ]
    assert sizes[1] == pytest.approx(sizes[0], rel=0.1)


def test_operations_of_a_convolution_match_a_manual_count():
    convolution = torch.nn.Conv2d(3, 8, kernel_size=3, padding=1)
    assert bench_peers.gflop(convolution, torch.zeros(1, 3, 10, 20)) == 2 * 10 * 20 * 3 * 8 * 9 / 1e9


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_bench_evaluates_all_on_the_same_patients_and_resumes(registered, tmp_path, capsys):
    folder, shown = tmp_path / "bench", tmp_path / "shown"
    words = ["--preset", "smoke", "--epochs", "1", "--folder", str(folder), "--table", str(shown), "--threads", "1"]
    bench_peers.main([*words, "--networks", "attention-unet"])
    first = (folder / "attention-unet" / "figures.json").stat().st_mtime_ns
    bench_peers.main([*words, "--networks", "attention-unet", "monai-attention-unet"])
    assert (folder / "attention-unet" / "figures.json").stat().st_mtime_ns == first

    report = json.loads((shown / "peers.json").read_text())
    rows = {row["network"]: row for row in report["networks"]}
    assert rows.keys() == {"attention-unet", "monai-attention-unet"}
    assert [row["dice"]["mean"] for row in report["networks"]] == sorted(
        (row["dice"]["mean"] for row in rows.values()), reverse=True
    )
    split = read_split(folder / "split.json")
    figures = json.loads((folder / "monai-attention-unet" / "figures.json").read_text())
    assert sorted(figures["dice"]) == sorted(split.test)
    assert rows["monai-attention-unet"]["dice"]["mean"] == pytest.approx(
        sum(figures["dice"].values()) / len(split.test)
    )
    [comparison] = report["comparisons"]
    assert comparison["networks"] == ["Attention U-Net", "MONAI AttentionUnet"]

    page = (shown / "peers.md").read_text()
    assert page in capsys.readouterr().out
    assert comparison["words"] in page
    assert not any(patient in page + json.dumps(report) for patient in (*split.train, *split.validation, *split.test))
