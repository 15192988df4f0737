"""Core and whole of one study: which are known, how each mask is made, and what is measured."""

from dataclasses import replace

import numpy as np
import pytest

from metseg.contracts import OperatingPoint, Preprocessing, Structure
from metseg.imaging import Float32Array, Volume
from metseg.inference import predict, segment
from metseg.inference.segmentation import MODEL_WITHOUT_CORE, STUDY_WITHOUT_CORE

SIDE = 64
CORE, OTHER_CORE, AROUND = (
    (slice(24, 30), slice(20, 26)),
    (slice(24, 28), slice(40, 44)),
    (slice(18, 36), slice(14, 50)),
)


class Stamped:
    """A model that reads both maps off the study: core from post-contrast, whole from FLAIR."""

    max_concurrency = batch_size = 1

    def __init__(self, **points: OperatingPoint) -> None:
        self.preprocessing = Preprocessing(pixel_scale=1.0, missing_sequences="zero", multiple=1)
        self.operating_points: dict[Structure, OperatingPoint] = {"core": OperatingPoint(), "whole": OperatingPoint()}
        self.operating_points |= points  # type: ignore[arg-type]
        self.seen: list[Float32Array] = []

    def __call__(self, tensor: Float32Array) -> Float32Array:
        self.seen.append(tensor)
        return np.stack([np.clip(tensor[..., channel] / 20, 0, 0.99) for channel in (2, 1)]).astype(np.float32)


def study(**changes: object) -> Volume:
    """A head whose post-contrast shows two cores, and whose FLAIR one abnormality around both."""
    rows, columns = np.ogrid[:SIDE, :SIDE]
    pixels = np.zeros((4, SIDE, SIDE, 3), np.float32)
    pixels[:, (rows - 32) ** 2 + (columns - 32) ** 2 <= 30**2] = 60
    pixels[1:3, *AROUND, 1] = 250
    pixels[1:3, *CORE, 2] = 250
    pixels[1:3, *OTHER_CORE, 2] = 250
    return replace(Volume(pixels, tuple("abcd"), spacing_mm=(3.0, 0.9, 0.9)), **changes)  # type: ignore[arg-type]


def share(maps: Float32Array, region: tuple[slice, slice]) -> float:
    return float(maps[1, *region].mean())


@pytest.fixture(scope="module")
def low() -> OperatingPoint:
    """Below everything that the head itself reaches in `Stamped`'s maps."""
    return OperatingPoint(threshold=0.1)


def test_lesions_are_of_the_core_and_have_the_abnormality_around_them(low):
    found = segment(study(), Stamped(core=low, whole=low))
    assert found.structure == "core"
    assert [lesion.voxels for lesion in found.lesions] == [2 * 36, 2 * 16]
    whole = found.structures["whole"].mask
    assert whole[1, *AROUND].all()
    around = [lesion.surrounding_voxels for lesion in found.lesions]
    assert sum(around) == whole.sum() - found.mask.sum()
    assert min(around) > 0.25 * sum(around), "each core has the part of the abnormality that is nearest to it"
    assert [lesion.surrounding_volume_mm3 for lesion in found.lesions] == [
        pytest.approx(voxels * 3 * 0.81) for voxels in around
    ]


def test_the_core_is_a_part_of_the_whole_whatever_the_thresholds(low):
    found = segment(study(), Stamped(core=low, whole=OperatingPoint(threshold=1.0)))
    assert found.mask.any()
    assert not (found.mask & ~found.structures["whole"].mask).any()


def test_only_a_core_has_target_lesions(low):
    large = replace(study(), spacing_mm=(3.0, 3.0, 3.0))
    assert any(lesion.target for lesion in segment(large, Stamped(core=low, whole=low)).lesions)
    found = segment(replace(large, present=(True, True, False)), Stamped(core=low, whole=low))
    assert found.lesions and not any(lesion.target for lesion in found.lesions)


def test_without_post_contrast_the_abnormality_is_measured_and_that_is_said(low):
    found = segment(study(present=(False, True, False)), Stamped(core=low, whole=low))
    assert (found.structure, set(found.structures)) == ("whole", {"whole"})
    assert len(found.lesions) == 1
    assert found.lesions[0].surrounding_voxels is None
    assert found.warnings == (STUDY_WITHOUT_CORE,)


def test_a_model_of_the_whole_alone_says_that_it_knows_no_core(low):
    model = Stamped()
    model.operating_points = {"whole": low}
    model_call = model.__call__
    alone = type("Alone", (), {
        "preprocessing": model.preprocessing, "operating_points": model.operating_points,
        "max_concurrency": 1, "batch_size": 1, "__call__": lambda _, tensor: model_call(tensor)[1:],
    })()  # fmt: skip
    assert segment(study(), alone).warnings == (MODEL_WITHOUT_CORE,)


def test_the_network_sees_nothing_in_the_channel_of_a_missing_sequence():
    model = Stamped()
    segment(study(present=(False, True, True)), model)
    assert not any(tensor[..., 0].any() for tensor in model.seen)
    assert all(tensor[..., channel].any() for tensor in model.seen for channel in (1, 2))


def test_a_component_without_a_seed_is_left_out():
    volume = study()
    volume.pixels[1:3, *OTHER_CORE, 2] = 150
    low = segment(volume, Stamped(core=OperatingPoint(threshold=0.05)))
    assert len(low.lesions) == 2
    peaks = sorted(float(low.probability[1:2, *region].max()) for region in (CORE, OTHER_CORE))
    point = OperatingPoint(threshold=0.05, seed_threshold=sum(peaks) / 2)
    [lesion] = segment(volume, Stamped(core=point)).lesions
    assert lesion.voxels == low.lesions[0].voxels, "what is kept is kept down to the lower threshold"


def test_a_slice_alone_has_a_seed_threshold_of_its_own():
    point = OperatingPoint(threshold=0.1, seed_threshold=1.0, single_slice_seed_threshold=0.1)
    assert not segment(study(), Stamped(core=point)).lesions
    alone = segment(study().part(slice(1, 2)), Stamped(core=point))
    assert len(alone.lesions) == 2
    assert alone.point.seed_threshold == 0.1
    strict = segment(study().part(slice(1, 2)), Stamped(core=point), threshold=0.99)
    assert strict.point.seed_threshold == 0.99 and not strict.lesions


def test_a_given_threshold_takes_the_place_of_both(low):
    point = OperatingPoint(threshold=0.1, seed_threshold=1.0)
    assert not segment(study(), Stamped(core=point)).lesions
    found = segment(study(), Stamped(core=point, whole=low), 0.15)
    assert found.lesions
    assert (found.point.threshold, found.point.seed_threshold) == (0.15, 0.15)
    assert found.structures["whole"].point == low


class OneSided(Stamped):
    """A model that sees a core in the left half of its input alone, as a false outline of a vessel may be."""

    def __call__(self, tensor: Float32Array) -> Float32Array:
        maps = super().__call__(tensor)
        maps[..., maps.shape[-1] // 2 :] = 0
        return maps


def test_slices_that_may_show_a_core_are_predicted_again_mirrored_and_averaged():
    model = OneSided(core=OperatingPoint(mirrored_from=0.5), whole=OperatingPoint())
    left, both = (predict(study(), one)["core"] for one in (OneSided(), Stamped()))
    averaged = predict(study(), model)["core"]
    assert len(model.seen) == 4 + 2  # two of the four slices show a core
    for column in (22, 42):
        assert averaged[1, 26, column] == pytest.approx(both[1, 26, column] / 2, abs=0.02)
    assert left[1, 26, 22] == both[1, 26, 22] and left[1, 26, 42] == 0
    assert np.array_equal(averaged[[0, 3]], left[[0, 3]])


def test_a_model_that_sees_both_sides_alike_gives_the_same_maps_when_mirrored():
    mirrored = Stamped(core=OperatingPoint(mirrored_from=0.0), whole=OperatingPoint())
    for structure, found in predict(study(), mirrored).items():
        assert found == pytest.approx(predict(study(), Stamped())[structure], abs=1e-6)
