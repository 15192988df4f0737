"""The page's colours, light and dark, have the contrasts that WCAG 2.2 requires at level AA."""

import tomllib

import pytest
from tests.pages import CONFIG

THEME = tomllib.loads(CONFIG.read_text(encoding="utf-8"))["theme"]
CAPTION_OPACITY = 0.85
TEXT, CONTROLS = 4.5, 3.0
themes = pytest.mark.parametrize("theme", ["light", "dark"])


def luminance(colour: str) -> float:
    """Relative luminance as defined by WCAG 2.2."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def blend(colour: str, background: str, opacity: float) -> str:
    """The colour that a translucent one has on a background."""
    parts = ((int(colour[at : at + 2], 16), int(background[at : at + 2], 16)) for at in (1, 3, 5))
    return "#" + "".join(f"{round(opacity * one + (1 - opacity) * other):02x}" for one, other in parts)


def test_contrast_is_computed_as_in_the_standard():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@themes
@pytest.mark.parametrize("background", ["backgroundColor", "secondaryBackgroundColor"])
def test_text_and_controls_are_legible_on_both_backgrounds(theme, background):
    colours = THEME[theme]
    ground = colours[background]
    assert contrast(colours["textColor"], ground) >= TEXT
    assert contrast(blend(colours["textColor"], ground, CAPTION_OPACITY), ground) >= TEXT
    assert contrast(colours.get("linkColor", colours["primaryColor"]), ground) >= TEXT
    assert contrast(colours["primaryColor"], ground) >= CONTROLS


@themes
def test_the_white_text_of_the_primary_button_is_legible(theme):
    assert contrast("#ffffff", THEME[theme]["primaryColor"]) >= TEXT


@themes
def test_a_pressed_button_of_the_viewer_is_legible(theme):
    assert contrast(THEME[theme]["backgroundColor"], THEME[theme]["textColor"]) >= TEXT
