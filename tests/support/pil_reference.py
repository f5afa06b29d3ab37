"""RandAugment's operations as Pillow does them, one image at a time, to compare the DALI operators with."""

import numpy as np
from PIL import Image, ImageEnhance, ImageOps


def apply(name: str, image: np.ndarray, magnitude: float) -> np.ndarray:
    """`image`: uint8 HWC. Magnitudes in the units of `policies.draw_operations`."""
    return np.asarray(_apply(name, Image.fromarray(image), magnitude))


def _apply(name: str, image: Image.Image, magnitude: float) -> Image.Image:
    width, height = image.size
    enhancers = {
        "brightness": ImageEnhance.Brightness,
        "color": ImageEnhance.Color,
        "contrast": ImageEnhance.Contrast,
        "sharpness": ImageEnhance.Sharpness,
    }
    coefficients = {
        "shear_x": (1, magnitude, 0, 0, 1, 0),
        "shear_y": (1, 0, 0, magnitude, 1, 0),
        "translate_x": (1, 0, magnitude * width, 0, 1, 0),
        "translate_y": (1, 0, 0, 0, 1, magnitude * height),
    }
    if name in enhancers:
        return enhancers[name](image).enhance(magnitude)
    if name in coefficients:
        return image.transform(image.size, Image.Transform.AFFINE, coefficients[name])
    return {
        "identity": lambda: image,
        "rotate": lambda: image.rotate(magnitude),
        "posterize": lambda: ImageOps.posterize(image, int(magnitude)),
        "solarize": lambda: ImageOps.solarize(image, magnitude),
        "auto_contrast": lambda: ImageOps.autocontrast(image),
        "equalize": lambda: ImageOps.equalize(image),
        "invert": lambda: ImageOps.invert(image),
    }[name]()


def equalize_rounded(image: np.ndarray) -> np.ndarray:
    """Histogram equalization without Pillow's integer step: 255 * (cdf - first) / (n - first), rounded.

    `first` is the count of the smallest value present; a flat channel stays as it is.
    """
    channels = []
    for channel in np.moveaxis(image, -1, 0):
        counts = np.bincount(channel.ravel(), minlength=256)
        first = counts[channel.min()]
        if first == channel.size:
            channels.append(channel)
            continue
        scale = np.float32(255) / np.float32(channel.size - first)
        lut = np.rint((np.cumsum(counts) - first).astype(np.float32) * scale)
        channels.append(np.clip(lut, 0, 255).astype(np.uint8)[channel])
    return np.stack(channels, axis=-1)


def cutout(image: np.ndarray, side: int, center: tuple[int, int], fill: tuple[int, int, int]) -> np.ndarray:
    """Pixel by pixel: filled where the distance to the center is inside the square."""
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    before, after = side // 2, side - side // 2
    inside = (y >= center[0] - before) & (y < center[0] + after) & (x >= center[1] - before) & (x < center[1] + after)
    return np.where(inside[..., None], np.array(fill, np.uint8), image)
