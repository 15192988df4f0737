"""Draw docs/pictures/networks.webp: what both registered networks outline in a phantom, hence without patient data."""

from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from metseg.imaging import POST, Mask, UInt8Array, rendering
from metseg.inference import OnnxPredictor, segment
from metseg.phantom import head
from metseg.registry import MODEL, read_card

ROOT = Path(__file__).parents[1]
TARGET = ROOT / "docs/pictures/networks.webp"
VERSIONS = (ROOT / "infra/starter-model", ROOT / "infra/starter-model/other-network")
SEED, SLICES, LESIONS, SHOWN = 60, 16, 9, 2
CORE_LABELS = (1, 3)
SCALE, MARGIN_PX, TITLE_PX = 2, 6, 28
QUALITY = 88
COLOUR = (255, 170, 0)


def main() -> None:
    """Draw the slices with the most lesions: the truth, and each network's outline."""
    phantom = head(SEED, slices=SLICES, lesions=LESIONS)
    truth: Mask = np.isin(phantom.labels, CORE_LABELS)
    columns = {"drawn": truth}
    for version in VERSIONS:
        card = read_card(version)
        predictor = OnnxPredictor(card, (version / MODEL).read_bytes(), threads=2)
        found = segment(phantom.volume, predictor)
        columns[card.network] = found.structures["core"].mask
    pictures = rendering.window_volume(phantom.volume)[..., POST]
    counts, areas = [cv2.connectedComponents(one.astype(np.uint8))[0] for one in truth], truth.sum(axis=(1, 2))
    shown = sorted(np.lexsort((areas, counts))[-SHOWN:].tolist())
    rows, cols = (np.flatnonzero(pictures.max(axis=(0, other)) > 30) for other in (2, 1))
    box = np.s_[rows[0] - MARGIN_PX : rows[-1] + MARGIN_PX, cols[0] - MARGIN_PX : cols[-1] + MARGIN_PX]
    strips = [
        np.vstack([_outlined(pictures[index][box], mask[index][box]) for index in shown]) for mask in columns.values()
    ]
    image = Image.fromarray(np.hstack(strips))
    framed = Image.new("RGB", (image.width, image.height + TITLE_PX))
    framed.paste(image, (0, TITLE_PX))
    draw, font = ImageDraw.Draw(framed), ImageFont.load_default(18)
    for number, title in enumerate(columns):
        draw.text((number * strips[0].shape[1] + MARGIN_PX, 4), title, "white", font)
    framed.save(TARGET, quality=QUALITY)
    print(f"{TARGET}: {TARGET.stat().st_size:,} bytes")


def _outlined(picture: UInt8Array, mask: Mask) -> UInt8Array:
    """A slice in grey, enlarged, with a line along the edge of the mask."""
    large = cv2.resize(picture, None, fx=SCALE, fy=SCALE, interpolation=cv2.INTER_CUBIC)
    colour = cv2.cvtColor(large, cv2.COLOR_GRAY2RGB)
    edges = mask.astype(np.uint8).repeat(SCALE, axis=0).repeat(SCALE, axis=1)
    contours, _ = cv2.findContours(edges, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(colour, contours, -1, COLOUR, 1)


if __name__ == "__main__":
    main()
