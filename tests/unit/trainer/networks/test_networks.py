"""The contract of every network, inherited by each one's tests."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

import metseg_trainer
from metseg.inference import INPUT, OUTPUT
from metseg_trainer.export.onnx_export import to_onnx
from metseg_trainer.networks import NETWORKS, AttentionUNet, NestedUNet, create_network
from metseg_trainer.networks.attention_unet import AttentionGate
from metseg_trainer.training import LossConfig, deep_supervision_loss


class NetworkContract:
    name: str
    parameters: int
    branches: int

    @pytest.fixture
    def network(self):
        torch.manual_seed(0)
        return create_network(self.name, base_width=4)

    @pytest.mark.parametrize("size", [(64, 48), (77, 51), (16, 16), (33, 130)])
    def test_the_output_has_the_size_of_the_input(self, network, size):
        logits = network.eval()(torch.randn(2, 3, *size))
        assert logits.shape == (2, 1, *size)

    def test_every_weight_learns(self, network):
        truth = (torch.rand(2, 1, 64, 48) > 0.8).float()
        deep_supervision_loss(network.supervised_outputs(torch.randn(2, 3, 64, 48)), truth, LossConfig()).backward()
        idle = [name for name, weight in network.named_parameters() if weight.grad is None or not weight.grad.any()]
        assert idle == []

    def test_the_last_supervised_output_is_the_one_served(self, network):
        slices = torch.randn(1, 3, 32, 32)
        branches = network.eval().supervised_outputs(slices)
        assert len(branches) == self.branches
        assert torch.equal(network(slices), branches[-1])

    def test_the_number_of_parameters_is_known(self):
        assert (
            sum(weight.numel() for weight in create_network(self.name, base_width=16).parameters()) == self.parameters
        )

    def test_a_slice_is_predicted_equally_alone_and_in_a_batch(self, network):
        slices = torch.randn(3, 3, 48, 48)
        together = network.eval()(slices)
        alone = torch.cat([network(one[None]) for one in slices])
        torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)

    @pytest.fixture(scope="class")
    @classmethod
    def export(cls):
        """A network with non-trivial normalisation, and its exported model; an export is slow."""
        torch.manual_seed(0)
        network = create_network(cls.name, base_width=4)
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
        model = to_onnx(network)
        return network.eval(), model

    def test_the_exported_model_equals_the_network_at_every_size(self, export):
        network, model = export
        session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        for shape in [(1, 3, 112, 96), (2, 3, 64, 64), (1, 3, 51, 77)]:
            slices = torch.randn(shape)
            with torch.inference_mode():
                expected = torch.sigmoid(network(slices)).numpy()
            [answer] = session.run([OUTPUT], {INPUT: slices.numpy()})
            np.testing.assert_allclose(answer, expected, atol=1e-4)

    def test_the_exported_model_contains_no_local_path(self, export):
        _, model = export
        assert str(Path(metseg_trainer.__file__).parent).encode() not in model
        assert b".py" not in model


class TestNestedUNet(NetworkContract):
    name, parameters, branches = "nested-unet", 2_292_020, 4

    @pytest.mark.parametrize("depth", [1, 2, 3, 4])
    def test_a_pruned_network_predicts_like_its_branch(self, network, depth):
        slices = torch.randn(1, 3, 48, 64)
        whole = network.eval().supervised_outputs(slices)[depth - 1]
        pruned = network.pruned(depth)
        torch.testing.assert_close(pruned(slices), whole)
        assert sum(p.numel() for p in pruned.parameters()) <= sum(p.numel() for p in network.parameters())

    def test_a_network_cannot_be_pruned_to_more_levels_than_it_has(self, network):
        with pytest.raises(ValueError, match="cannot prune"):
            network.pruned(2).pruned(3)

    def test_there_are_four_depths(self):
        with pytest.raises(ValueError, match="1 to 4"):
            NestedUNet(4, depth=5)


class TestAttentionUNet(NetworkContract):
    name, parameters, branches = "attention-unet", 2_095_141, 1

    def test_a_gate_only_attenuates(self):
        gate = AttentionGate(skip=4, gating=8)
        skip = torch.rand(2, 4, 17, 22)
        gated = gate(skip, torch.randn(2, 8, 8, 11))
        assert gated.shape == skip.shape
        assert (gated >= 0).all()
        assert (gated <= skip).all()

    def test_every_skip_has_a_gate(self):
        assert len(AttentionUNet(4).gates) == 4


def test_an_unknown_name_lists_the_choices():
    with pytest.raises(KeyError, match="attention-unet, nested-unet"):
        create_network("resnet", base_width=4)


def test_every_network_has_a_contract_test():
    assert {contract.name for contract in NetworkContract.__subclasses__()} == set(NETWORKS)
