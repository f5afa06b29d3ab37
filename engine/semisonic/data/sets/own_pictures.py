"""Pictures that this program makes, of views, mistakes and folders, carry its name: they are no data anywhere."""

from typing import Any

SOFTWARE = "semisonic"
"""The entry `Software` of such a PNG."""


def signed() -> Any:
    """What Pillow is given as `pnginfo` to save such a picture; other formats leave it out."""
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text("Software", SOFTWARE)
    return info


def is_own(image: Any) -> bool:
    """Whether an opened image of Pillow's is one of them."""
    return image.format == "PNG" and image.info.get("Software") == SOFTWARE
