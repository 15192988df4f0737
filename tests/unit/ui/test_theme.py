"""The page's colours, dark and light, have the contrasts that WCAG 2.2 asks for at level AA."""

import tomllib
from pathlib import Path

import pytest

CONFIG = Path(__file__).parents[3] / "services/ui/metseg_ui/.streamlit/config.toml"
THEME = tomllib.loads(CONFIG.read_text(encoding="utf-8"))["theme"]
WORDS, SHAPES = 4.5, 3.0


def luminance(colour):
    shares = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one, other):
    darker, lighter = sorted(map(luminance, (one, other)))
    return (lighter + 0.05) / (darker + 0.05)


def test_the_measure_is_the_standards():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("ground", ["backgroundColor", "secondaryBackgroundColor"])
def test_words_and_controls_are_seen_on_both_grounds(theme, ground):
    colours = THEME[theme]
    assert contrast(colours["textColor"], colours[ground]) >= WORDS
    assert contrast(colours.get("linkColor", colours["primaryColor"]), colours[ground]) >= WORDS
    assert contrast(colours["primaryColor"], colours[ground]) >= SHAPES


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_white_words_of_the_main_button_are_seen(theme):
    assert contrast("#ffffff", THEME[theme]["primaryColor"]) >= WORDS
