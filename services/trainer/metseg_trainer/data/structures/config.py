"""The configuration of samples of the core."""

from dataclasses import dataclass, field

from metseg.imaging import Present

__all__ = ["StructureSamplingConfig"]


def _sequence_shares() -> dict[Present, float]:
    return {
        (True, True, True): 0.3,
        (False, True, True): 0.2,
        (False, False, True): 0.4,
        (True, False, True): 0.1,
    }


@dataclass(frozen=True)
class StructureSamplingConfig:
    """Which slices are drawn, with which sequences and lesions; all values are shares.

    Attributes:
        studies: of the samples, from studies whose core is known, where there are any; all without other sources.
        lgg: of the other samples, from the glioma patients; the rest is from BRISC. A source that is missing has none.
        axial: of BRISC's samples.
        tumour: of LGG's samples and of the studies', slices that show the tumour.
        drawn_lgg: of LGG's samples, with drawn metastases, from the slices that show enough brain.
        drawn_brisc: the same of BRISC's axial samples.
        stripped: of the samples whose brain is known, without skull.
        lone: of LGG's samples and of the studies', normalised as a slice that was uploaded alone.
        vessels: of the slices that show enough brain, with drawn vessels.
        donated: of the drawn lesions, with a real tumour's texture.
        centred: of the patches from slices with a lesion, near one.
        sequences: of pre, FLAIR and post, the choices for a sample, all with post, without which no core is known;
            those that a study lacks are left out.
    """

    studies: float = 0.5
    lgg: float = 0.6
    axial: float = 0.7
    tumour: float = 0.4
    drawn_lgg: float = 0.5
    drawn_brisc: float = 0.4
    stripped: float = 0.5
    lone: float = 0.5
    vessels: float = 0.3
    donated: float = 0.35
    centred: float = 0.7
    sequences: dict[Present, float] = field(default_factory=_sequence_shares)
