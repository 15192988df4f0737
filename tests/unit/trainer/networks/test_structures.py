"""Two structures from two logits: the core lies within the whole, in both networks and for any logits."""

import pytest
import torch

from metseg.contracts import STRUCTURES
from metseg_trainer.networks import NETWORKS, create_network, log_probabilities, structure_probabilities


@pytest.mark.parametrize("name", NETWORKS)
def test_the_core_lies_within_the_whole(name):
    network = create_network(name, base_width=4, outputs=len(STRUCTURES)).eval()
    core, whole = structure_probabilities(network(torch.randn(1, 3, 32, 48)) * 5).unbind(1)
    assert core.shape == (1, 32, 48)
    assert (core <= whole).all()
    assert (core < whole).any()


def test_a_pruned_network_keeps_both_outputs():
    network = create_network("nested-unet", base_width=4, outputs=2).eval()
    assert [pruned(torch.randn(1, 3, 32, 32)).shape[1] for pruned, _ in network.pruned_networks()] == [2, 2, 2, 2]


def test_logarithms_are_those_of_the_probabilities():
    logits = torch.randn(2, 2, 8, 8) * 3
    yes, no = log_probabilities(logits)
    assert torch.allclose(yes.exp(), structure_probabilities(logits), atol=1e-6)
    assert torch.allclose(yes.exp() + no.exp(), torch.ones_like(yes), atol=1e-6)


def test_extreme_logits_stay_finite():
    extremes = torch.tensor([-200.0, 0.0, 200.0])
    logits = torch.cartesian_prod(extremes, extremes)[:, :, None, None]
    assert all(torch.isfinite(one).all() for one in log_probabilities(logits))
