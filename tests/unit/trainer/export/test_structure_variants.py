"""The choice among pruning levels and precisions of a network of the core."""

from types import SimpleNamespace

import pytest

from metseg_trainer.export.structure_variants import (
    StructureVariant,
    dice_loss,
    format_variants,
    keeps_dice,
    lowest_level,
    variant_rows,
)


def level(number: int, precision: str = "fp32", *, ms: float = 1.0, **dice: float) -> StructureVariant:
    card = SimpleNamespace(variant=SimpleNamespace(pruning_level=number, precision=precision))
    scores = {name.replace("_", " "): mean for name, mean in dice.items()}
    return StructureVariant(
        SimpleNamespace(parameter_count=10 * number), b"", SimpleNamespace(card=card), b"", scores, ms_per_slice=ms
    )


FULL = level(4, core=0.80, drawn_metastases=0.60, whole=0.87)


def test_the_lowest_level_that_loses_little_is_served():
    third = level(3, core=0.797, drawn_metastases=0.59, whole=0.868)
    second = level(2, core=0.796, drawn_metastases=0.585, whole=0.87)
    first = level(1, core=0.70, drawn_metastases=0.3, whole=0.87)
    assert lowest_level([FULL, third, second, first]) is second


@pytest.mark.parametrize(
    "worse",
    [
        {"core": 0.794, "drawn_metastases": 0.60, "whole": 0.87},
        {"core": 0.80, "drawn_metastases": 0.57, "whole": 0.87},
        {"core": 0.82, "drawn_metastases": 0.70, "whole": 0.864},
    ],
)
def test_a_level_that_loses_more_of_anything_is_not_served(worse):
    assert lowest_level([FULL, level(3, **worse)]) is FULL


def test_8_bits_may_lose_little_of_each_structure_and_drawn_metastases_do_not_decide():
    assert keeps_dice(FULL, level(4, "int8", core=0.796, drawn_metastases=0.5, whole=0.869))
    assert not keeps_dice(FULL, level(4, "int8", core=0.81, drawn_metastases=0.7, whole=0.86))
    assert dice_loss(FULL, level(4, core=0.79, drawn_metastases=0.1, whole=0.869)) == pytest.approx(0.01)


def test_the_whole_may_be_unknown():
    alone = level(4, core=0.8)
    assert lowest_level([alone, level(3, core=0.797), level(2, core=0.7)]).dice == {"core": 0.797}


def test_the_table_marks_what_is_served():
    served = level(3, "int8", ms=4.25, core=0.8, whole=0.87)
    text = format_variants(variant_rows([FULL, served], served))
    assert [line[0] for line in text.splitlines()] == [" ", " ", "*"]
    assert "level 3, int8" in text and "4.2" in text and "core 0.800" in text
