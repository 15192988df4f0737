"""A model small enough to build in a test: it predicts core where FLAIR is bright, and is served like any other."""

import hashlib
from datetime import UTC, datetime
from pathlib import Path

from onnx import TensorProto, checker, helper

from metseg.contracts import (
    DataCard,
    DiceSummary,
    ModelCard,
    OperatingPoint,
    OutOfDistributionCard,
    OutOfDistributionReference,
    Preprocessing,
    SequenceReferences,
)
from metseg.imaging import ROLES
from metseg.inference import FEATURES, FEATURES_REVISION

VERSION = "20260101-000000-tiny"
STARTER = Path(__file__).parents[1] / "infra/starter-model"


def tiny_model(brighter_than: float = 1.5, steepness: float = 4.0) -> bytes:
    """An ONNX file: core, which is the whole, is the sigmoid of how far FLAIR lies above `brighter_than` deviations."""
    shape = ["batch", 3, "height", "width"]
    graph = helper.make_graph(
        [
            helper.make_node("Gather", ["slices", "flair"], ["bright"], axis=1),
            helper.make_node("Sub", ["bright", "offset"], ["above"]),
            helper.make_node("Mul", ["above", "steepness"], ["logit"]),
            helper.make_node("Sigmoid", ["logit"], ["core"]),
            helper.make_node("Concat", ["core", "core"], ["probability"], axis=1),
        ],
        "tiny",
        [helper.make_tensor_value_info("slices", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("probability", TensorProto.FLOAT, ["batch", 2, "height", "width"])],
        [
            helper.make_tensor("flair", TensorProto.INT64, [1], [1]),
            helper.make_tensor("offset", TensorProto.FLOAT, [], [brighter_than]),
            helper.make_tensor("steepness", TensorProto.FLOAT, [], [steepness]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    checker.check_model(model)
    return bytes(model.SerializeToString())


def tiny_card(model: bytes, version: str = VERSION) -> ModelCard:
    """The card of `model`, with made-up figures."""
    return ModelCard(
        version=version,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        network="tiny",
        parameters=2,
        sha256=hashlib.sha256(model).hexdigest(),
        preprocessing=Preprocessing(),
        operating_points={"core": OperatingPoint(), "whole": OperatingPoint()},
        data=DataCard(
            name="phantoms",
            licence="Apache-2.0",
            citations=[],
            patients={"train": 1, "validation": 1, "test": 1},
            slices={"train": 24, "validation": 24, "test": 24},
            sha256="0" * 64,
            split_sha256="0" * 64,
        ),
        figures={"tiny": DiceSummary(patients=1, mean=0.5, median=0.5, std=0.0, lowest=0.5, highest=0.5)},
        git_revision="0000000",
        packages={},
        intended_use="Tests of metseg.",
        limits=["It knows nothing of lesions."],
        licence="Apache-2.0",
    )


def familiarity_card(limit: float = 1.0, turned_limit: float = 1.0) -> OutOfDistributionCard:
    """A reference that is near to every flat image, with the given limits."""
    count = len(FEATURES)
    reference = OutOfDistributionReference(
        features=list(FEATURES),
        mean=[0.0] * count,
        scale=[1.0] * count,
        precision=[[float(row == column) for column in range(count)] for row in range(count)],
        limit=limit,
        turned_limit=turned_limit,
        learned=1,
        judged=1,
        false_alarms=0,
    )
    references = SequenceReferences(studies=reference, lone_slices=reference)
    return OutOfDistributionCard(revision=FEATURES_REVISION, sequences=dict.fromkeys(ROLES, references))
