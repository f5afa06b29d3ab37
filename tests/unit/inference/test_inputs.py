"""Whatever images are given as, they become what the run's evaluation sees; what could be something else is refused."""

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from semisonic.inference.inputs import Inputs
from semisonic.schema import UserError
from tests.support.image_folders import picture

WHOLE, PLAIN, FRAMED = Inputs(16), Inputs(16, "plain"), Inputs(32, "whole", border=2)
COLOR = np.asarray(picture(16, 16))
GRAY = np.asarray(picture(16, 16).convert("L"))

WRONG: dict[str, tuple[Any, str]] = {
    "floats up to 255": (np.full((16, 16, 3), 255.0), "images: floats up to 255 were given; give uint8, or floats in 0..1"),
    "normalized floats": (torch.full((1, 3, 16, 16), -1.5), "images: floats down to -1.5 were given; give uint8"),
    "nan": (torch.full((1, 3, 16, 16), float("nan")), "images: values that are not finite"),
    "int64": (torch.zeros(1, 3, 16, 16, dtype=torch.int64), "images: of type int64; give uint8, or floats in 0..1"),
    "int32 array": (COLOR.astype(np.int32), "images: an array of type int32; give uint8"),
    "bool": (torch.zeros(1, 3, 16, 16, dtype=torch.bool), "images: of type bool; give uint8"),
    "complex": (torch.zeros(1, 3, 16, 16, dtype=torch.complex64), "images: of type complex64; give uint8"),
    "channels last": (torch.zeros(2, 16, 16, 3), r"has its channels last; use permute\(0, 3, 1, 2\)"),
    "first or last": (torch.zeros(2, 3, 16, 3), "may have its channels first or last"),
    "array, channels first": (np.zeros((2, 3, 16, 16), np.uint8), r"has its channels first; use transpose\(0, 2, 3, 1\)"),
    "array of one or of three": (np.zeros((3, 16, 16), np.uint8), "is one image, channels first, or three gray ones"),
    "RGBA tensor": (torch.zeros(1, 4, 16, 16), "has 4 channels, not 3"),
    "RGBA array": (np.zeros((16, 16, 4), np.uint8), "has 4 channels, not 3"),
    "a batch of gray tensors": (torch.zeros(5, 16, 16), r"gray ones as \[1, H, W\] or \[N, 1, H, W\]"),
    "one dimension": (torch.zeros(16), r"a tensor of shape \[16\]"),
    "five dimensions": (np.zeros((1, 1, 16, 16, 3), np.uint8), r"an array of shape \[1, 1, 16, 16, 3\]"),
    "no images": ([], "images: none were given"),
    "an empty batch": (torch.zeros(0, 3, 16, 16), "images: none were given"),
    "no pixels": (np.zeros((1, 0, 16, 3), np.uint8), "images: without pixels"),
    "None": (None, "images: None; give an array"),
    "objects": (np.array([COLOR, None], dtype=object), "images: an array of type object"),
    "bytes": (b"\x89PNG", r"images: of type bytes; open it with PIL.Image.open\(io.BytesIO"),
    "a mapping": ({"image": COLOR}, "images: of type dict"),
    "a mode without a range": (Image.new("F", (8, 8)), "mode F, whose range of values is not defined"),
    "nested lists": ([[COLOR], [COLOR]], r"images\[1\]: a list in place of one image"),
    "a batch in a list": ([np.stack([COLOR] * 2)], r"images\[0\]: 2 images in place of one"),
    "one of many": ([COLOR, 2.0 * COLOR], r"^images\[1\]: floats up to 300 were"),
    "a missing file": (["missing.png"], r"images\[0\]: no such file: missing.png"),
    "a folder": (Path(__file__).parent, "is a folder; give its files"),
    "no image": (__file__, "cannot decode .*test_inputs.py: not an image"),
}  # fmt: skip


@pytest.mark.parametrize("inputs", [WHOLE, PLAIN])
@pytest.mark.parametrize("name", WRONG)
def test_wrong_images_are_refused_by_name(name: str, inputs: Inputs):
    images, message = WRONG[name]
    with pytest.raises(UserError, match=message):
        inputs.convert(images)


def test_a_message_lists_every_wrong_image_up_to_a_number():
    with pytest.raises(UserError) as caught:
        list(WHOLE.batches([None] * 30, 64))
    assert len(caught.value.messages) == 21 and caught.value.messages[-1] == "images: 10 more that cannot be taken"


@pytest.mark.parametrize("inputs", [WHOLE, PLAIN, FRAMED])
@pytest.mark.parametrize("height, width", [(16, 16), (28, 28), (32, 32), (24, 40)])
def test_every_form_of_an_image_is_the_same_image(inputs: Inputs, height: int, width: int, tmp_path: Path):
    image = picture(height, width)
    image.save(tmp_path / "image.png")
    array = np.asarray(image)
    tensor = torch.from_numpy(array.copy()).permute(2, 0, 1)
    forms = [image, array, array[None], [array], tmp_path / "image.png", str(tmp_path / "image.png"), (image,)]
    floats = [tensor / 255, (tensor / 255)[None].double(), array / 255, (array / 255).astype(np.float32)]
    expected = inputs(image)
    assert expected.dtype == torch.uint8 and expected.shape == (3, inputs.size, inputs.size)
    for form in forms:
        assert torch.equal(inputs.convert(form)[0], expected) and inputs.convert(form).dtype == torch.uint8
    for form in floats:
        assert torch.equal(inputs.convert(form)[0], expected.float())
    if (height, width) != (inputs.size, inputs.size) or inputs.view == "whole":
        assert torch.equal(inputs.convert(tensor)[0], expected)


def test_what_was_converted_is_taken_as_it_is():
    for inputs in (WHOLE, PLAIN, FRAMED):
        ready = torch.stack([inputs(picture(shift=shift)) for shift in range(3)])
        assert inputs.fits(ready) and torch.equal(inputs.convert(ready), ready)
        assert torch.equal(inputs.convert(list(ready)), ready)
        assert not inputs.fits(ready.float()) and not inputs.fits(ready[0]) and not inputs.fits(None)


def test_gray_images_are_of_three_equal_channels():
    tensor = torch.from_numpy(GRAY.copy())
    for form in (GRAY, GRAY[None], GRAY[..., None], tensor[None], tensor[None, None], Image.fromarray(GRAY)):
        assert torch.equal(WHOLE.convert(form)[0], tensor.expand(3, -1, -1))
    assert WHOLE.convert(np.stack([GRAY] * 5)).shape == (5, 3, 16, 16)


def test_a_border_is_black_around_the_image():
    framed = FRAMED(picture(28, 28))
    assert torch.equal(framed[:, 2:-2, 2:-2], torch.from_numpy(np.asarray(picture(28, 28)).copy()).permute(2, 0, 1))
    assert not framed[:, :2].any() and not framed[:, :, -2:].any()


def test_pillow_s_modes_and_orientations_are_those_of_files(tmp_path: Path):
    exif = Image.Exif()
    exif[274] = 6
    buffer = io.BytesIO()
    picture().save(buffer, "JPEG", exif=exif, quality=100, subsampling=0)
    turned, upright = Image.open(buffer), picture().rotate(-90, expand=True)
    assert (PLAIN(turned).int() - PLAIN(upright).int()).abs().max() <= 8  # JPEG's
    sixteen = Image.fromarray(np.asarray(picture().convert("L")).astype(np.uint16) * 257)
    assert torch.equal(WHOLE(sixteen), WHOLE(picture().convert("L")))
    for mode in ("RGBA", "L", "CMYK", "P", "LA", "1"):
        image = picture().convert(mode)
        ending = "tif" if mode == "CMYK" else "png"
        image.save(tmp_path / f"{mode}.{ending}")
        assert torch.equal(PLAIN(image), PLAIN(tmp_path / f"{mode}.{ending}")), mode


def test_batches_are_of_the_size_asked_for():
    images = np.stack([np.asarray(picture(16, 16, shift)) for shift in range(7)])
    for form in (images, list(images), torch.from_numpy(images).permute(0, 3, 1, 2)):
        parts = list(WHOLE.batches(form, 3))
        assert [len(part) for part in parts] == [3, 3, 1]
        assert torch.equal(torch.cat(parts), torch.from_numpy(images).permute(0, 3, 1, 2))


def test_odd_arrays_are_read_right():
    expected = WHOLE.convert(COLOR)
    flipped = np.ascontiguousarray(COLOR[:, ::-1])[:, ::-1]
    fixed = COLOR.copy()
    fixed.flags.writeable = False
    swapped = (COLOR / 255).astype(">f4")
    assert torch.equal(WHOLE.convert(flipped), expected) and torch.equal(WHOLE.convert(fixed), expected)
    assert torch.equal(WHOLE.convert(swapped), expected.float())


def test_floats_are_differentiated_by():
    for inputs, side in ((WHOLE, 16), (WHOLE, 24), (PLAIN, 16)):
        images = torch.rand(2, 3, side, side, requires_grad=True)
        inputs.convert(images).sum().backward()
        assert images.grad is not None and images.grad.abs().sum() > 0


def test_the_conversion_goes_to_other_processes():
    assert pickle.loads(pickle.dumps(PLAIN)) == PLAIN


@pytest.mark.parametrize("shape, flat", [
    ((50, 256), (-1, 16, 16)), ((50, 768), (-1, 16, 16, 3)), ((100, 64), None), ((150, 25), (-1, 5, 5)),
    ((16, 16), None), ((40, 60), None), ((256, 256), (-1, 16, 16)), ((1, 256), (-1, 16, 16)), ((90, 500), None),
])  # fmt: skip
def test_flat_images_are_refused_with_their_shape_and_gray_ones_are_taken(
    shape: tuple[int, int], flat: tuple[int, ...] | None
):
    array = np.zeros(shape, np.uint8)
    if flat is None:
        assert Inputs(16).convert(array).shape == (1, 3, 16, 16)
        return
    with pytest.raises(UserError) as caught:
        Inputs(16).convert(array)
    advice = f"may be {shape[0]} flat images; use reshape{flat}, or [None] where it is one gray"
    assert advice in str(caught.value)
    assert len(Inputs(16).convert(array[None])) == 1  # said to be one gray image
    assert len(Inputs(16).convert(array.reshape(flat))) == shape[0]
