"""Images like photographs: smooth fields with edges, bright and dark enough that filters meet both ends of the scale."""

import numpy as np
from PIL import Image


def photograph(random: np.random.Generator, height: int, width: int) -> np.ndarray:
    """uint8 [height, width, 3]."""
    coarse = random.integers(0, 256, (max(2, height // 16), max(2, width // 16), 3)).astype(np.uint8)
    pixels = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)).astype(float)
    y, x = np.mgrid[:height, :width]
    for _ in range(4):  # half-planes of another brightness
        along, across, offset = random.normal(size=3)
        beyond = along * (y - height / 2) + across * (x - width / 2) + offset * height / 4 > 0
        pixels = np.where(beyond[..., None], pixels + random.uniform(-120, 120, 3), pixels)
    return pixels.clip(0, 255).astype(np.uint8)
