"""The configuration of samples with two structures."""

from dataclasses import dataclass, field

from metseg.imaging import Present

__all__ = ["StructureSamplingConfig"]


def _sequence_shares() -> dict[Present, float]:
    return {
        (True, True, True): 0.28,
        (False, True, True): 0.17,
        (False, False, True): 0.25,
        (True, False, True): 0.1,
        (False, True, False): 0.1,
        (True, True, False): 0.06,
        (True, False, False): 0.04,
    }


@dataclass(frozen=True)
class StructureSamplingConfig:
    """Which slices are drawn, with which sequences and lesions; all values are shares.

    Attributes:
        lgg: of the samples, from the glioma patients; the others are from BRISC.
        axial: of BRISC's samples.
        tumour: of LGG's samples, slices that show the tumour.
        drawn_lgg: of LGG's samples, with drawn metastases.
        drawn_brisc: of BRISC's axial samples, with drawn metastases.
        stripped: of the samples whose brain is known, without skull.
        lone: of LGG's samples, normalised as a slice that was uploaded alone.
        vessels: of the slices with drawn lesions, with vessels too.
        donated: of the drawn lesions, with a real tumour's texture.
        centred: of the patches from slices with a lesion, near one.
        sequences: of pre, FLAIR and post, the choices for a sample; those that a study lacks are left out.
    """

    lgg: float = 0.55
    axial: float = 0.7
    tumour: float = 0.4
    drawn_lgg: float = 0.8
    drawn_brisc: float = 0.6
    stripped: float = 0.5
    lone: float = 0.5
    vessels: float = 0.3
    donated: float = 0.35
    centred: float = 0.7
    sequences: dict[Present, float] = field(default_factory=_sequence_shares)
