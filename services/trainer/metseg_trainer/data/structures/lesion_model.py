"""The lesion model: size, outline and appearance of a metastasis; `rendering` shows it in slices of any thickness.

A lesion is defined in millimetres and in three dimensions, so that thin and thick slices through it can be rendered and
neighbouring ones fit together. Sizes follow 1,296 BraTS-METS studies (10,119 lesions: 41% below 27 mm3, 40% up to 275
mm3, 19% above; median 40 mm3). Brightness is relative to the patient's own brain.
"""

from dataclasses import dataclass

import numpy as np

from metseg.imaging import Float32Array

__all__ = ["Appearance", "DrawnLesion", "draw_diameter_mm", "draw_lesion"]

MEDIAN_MM3 = 40.0
SMALLER_SIGMA, LARGER_SIGMA = 1.73, 2.19
"""Standard deviations of the logarithm of the volume below and above the median."""
DIAMETERS_MM = (2.0, 36.0)
WAVES = 10
_WEIGHTS = np.full(WAVES, np.sqrt(2 / WAVES), np.float32)

Random = np.random.Generator


@dataclass(frozen=True, eq=False)
class CosineNoise:
    """Smooth noise of unit variance that can be evaluated at any point: a sum of cosines.

    Attributes:
        vectors: float32, (wave, 3), in radians per unit of length.
        phases: float32, (wave,).
    """

    vectors: Float32Array
    phases: Float32Array

    @classmethod
    def drawn(cls, wavelength: float, random: Random) -> "CosineNoise":
        """Noise with features of about half a wavelength.

        Args:
            wavelength: of the cosines, half to twice this length.
            random: draws directions and phases.

        Returns:
            The noise.
        """
        directions = random.standard_normal((WAVES, 3))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        lengths = wavelength * 2 ** random.uniform(-1, 1, (WAVES, 1))
        return cls(
            (directions * 2 * np.pi / lengths).astype(np.float32),
            random.uniform(0, 2 * np.pi, WAVES).astype(np.float32),
        )

    def at(self, points: Float32Array) -> Float32Array:
        """The noise at points, (..., 3)."""
        crests = np.cos(points.reshape(-1, 3) @ self.vectors.T + self.phases)
        return np.asarray(crests @ _WEIGHTS, np.float32).reshape(points.shape[:-1])


@dataclass(frozen=True)
class Appearance:
    """Brightness of a lesion's parts by channel, in multiples of the brain's median.

    Attributes:
        enhancing: of enhancing tumour.
        necrosis: of necrosis, or a cyst's fluid.
        haemorrhage: of blood; None where the lesion has not bled.
        oedema: of the FLAIR abnormality around.
    """

    enhancing: tuple[float, float, float]
    necrosis: tuple[float, float, float]
    haemorrhage: tuple[float, float, float] | None
    oedema: tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class DrawnLesion:
    """A metastasis.

    Attributes:
        diameter_mm: of the ball of its volume.
        style: `solid`, `ring`, `cystic` or `haemorrhagic`.
        to_unit: float32, (3, 3): from millimetres about the centre to the unit ball.
        ruggedness: how far the outline departs from the ellipsoid, as a share of the radius.
        outline: noise on the unit ball.
        rim_mm: thickness of the enhancing rim; infinite without necrosis.
        inside: noise in units of the radius, for rim, texture and haemorrhage.
        texture: standard deviation of the enhancing part's brightness.
        oedema_mm: how far oedema reaches; 0 without any.
        spread: noise in millimetres, of the oedema.
        blur_px: standard deviation of the in-plane point spread function.
        appearance: brightness.
        rim_variation: standard deviation of the rim's thickness, as a share of it; from about 0.5 on it has gaps.
    """

    diameter_mm: float
    style: str
    to_unit: Float32Array
    ruggedness: float
    outline: CosineNoise
    rim_mm: float
    inside: CosineNoise
    texture: float
    oedema_mm: float
    spread: CosineNoise
    blur_px: float
    appearance: Appearance
    rim_variation: float = 0.35


def draw_diameter_mm(random: Random) -> float:
    """Draw a diameter from the distribution of patients' lesions."""
    deviate = random.standard_normal()
    volume = MEDIAN_MM3 * np.exp(deviate * (LARGER_SIGMA if deviate > 0 else SMALLER_SIGMA))
    return float(np.clip((6 * volume / np.pi) ** (1 / 3), *DIAMETERS_MM))


def draw_lesion(diameter_mm: float, random: Random) -> DrawnLesion:
    """Draw a lesion of a given size; larger ones are more often necrotic and more often have oedema.

    Args:
        diameter_mm: of the ball of its volume.
        random: draws everything else.

    Returns:
        The lesion.
    """
    style = str(random.choice(("solid", "ring", "cystic", "haemorrhagic"), p=_style_shares(diameter_mm)))
    stretch = np.exp(random.normal(0, 0.18, 3))
    radii = diameter_mm / 2 * stretch / np.cbrt(stretch.prod())
    rotation, _ = np.linalg.qr(random.standard_normal((3, 3)))
    has_oedema = random.random() < np.interp(diameter_mm, (3, 6, 12), (0.2, 0.5, 0.85))
    return DrawnLesion(
        diameter_mm=diameter_mm,
        style=style,
        to_unit=(rotation / radii).T.astype(np.float32),
        ruggedness=float(random.uniform(0.02, 0.2)),
        outline=CosineNoise.drawn(2.2, random),
        rim_mm=_rim_mm(style, diameter_mm, random),
        inside=CosineNoise.drawn(1.0, random),
        texture=float(random.uniform(0.02, 0.2)),
        oedema_mm=float(random.uniform(1, 4 + 0.7 * diameter_mm)) if has_oedema else 0.0,
        spread=CosineNoise.drawn(14.0, random),
        blur_px=float(random.uniform(0.3, 0.8)),
        appearance=_look(style, random),
    )


def _style_shares(diameter_mm: float) -> tuple[float, ...]:
    """Of solid, ring, cystic and haemorrhagic lesions."""
    solid, ring, cystic, haemorrhage = (
        float(np.interp(diameter_mm, (3, 6, 10, 18), shares))
        for shares in (
            (0.92, 0.66, 0.42, 0.25),
            (0.02, 0.17, 0.34, 0.43),
            (0.0, 0.07, 0.12, 0.2),
            (0.06, 0.1, 0.12, 0.12),
        )
    )
    total = solid + ring + cystic + haemorrhage
    return solid / total, ring / total, cystic / total, haemorrhage / total


def _rim_mm(style: str, diameter_mm: float, random: Random) -> float:
    if style == "ring":
        return float(random.uniform(0.9, max(1.2, 0.24 * diameter_mm)))
    if style == "cystic":
        return float(random.uniform(0.6, 1.5))
    hollow = style == "haemorrhagic" and random.random() < 0.4
    return float(random.uniform(0.15, 0.3) * diameter_mm) if hollow else float("inf")


def _look(style: str, random: Random) -> Appearance:
    gain = float(np.clip(0.42 * np.exp(0.6 * random.standard_normal()), 0.08, 1.6))
    fluid = style == "cystic"
    enhancing = (random.uniform(0.78, 1.03), random.uniform(0.8, 1.6), 1 + gain)
    dead_flair = random.uniform(0.3, 1.2) if fluid else random.uniform(0.6, 1.9)
    necrosis = (
        random.uniform(0.4, 0.8) if fluid else random.uniform(0.55, 0.95),
        dead_flair,
        random.uniform(0.35, 0.8) if fluid else random.uniform(0.55, 1 + 0.3 * gain),
    )
    bright = random.uniform(1.15, 1.9)
    haemorrhage = (bright, random.uniform(0.6, 1.7), max(1 + gain, bright * random.uniform(0.9, 1.2)))
    oedema = (random.uniform(0.8, 0.97), random.uniform(1.2, 2.0), random.uniform(0.82, 1.0))
    return Appearance(enhancing, necrosis, haemorrhage if style == "haemorrhagic" else None, oedema)
