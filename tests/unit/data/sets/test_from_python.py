"""Images in whatever form Python has them: the same pixels, and mistakes by name."""

import numpy as np
import pytest
import torch
from PIL import Image

from semisonic.data.sets.from_python import read_given
from semisonic.schema import UserError
from tests.support.python_data import Pairs, digits

IMAGES, LABELS = digits()
RGB = np.stack([IMAGES, IMAGES // 2, 255 - IMAGES], -1)


@pytest.mark.parametrize(
    "images",
    [
        RGB, torch.from_numpy(RGB), torch.from_numpy(RGB).movedim(-1, 1), list(RGB), [Image.fromarray(x) for x in RGB],
        [torch.from_numpy(x).movedim(-1, 0) for x in RGB],
    ],
)  # fmt: skip
def test_every_form_gives_the_same_pixels(images):
    found = read_given((images, LABELS))
    assert found.train.pixels.dtype == np.uint8 and (found.train.pixels == RGB).all()
    assert (found.train.labels == LABELS).all() and found.train.labels.dtype == np.int64
    assert found.size == 8 and found.classes == tuple("0123456789") and found.test is None


@pytest.mark.parametrize(
    "images", [IMAGES, IMAGES[..., None], torch.from_numpy(IMAGES), [*map(Image.fromarray, IMAGES)]]
)
def test_gray_images_have_three_equal_channels(images):
    assert (read_given((images, LABELS)).train.pixels == IMAGES[..., None]).all()


def test_a_data_set_of_pairs():
    labels = [None if label < 0 else torch.tensor(label) for label in LABELS]
    found = read_given(Pairs([*map(Image.fromarray, RGB)], labels), test=Pairs(RGB[:100], LABELS[:100]))
    assert (found.train.labels == LABELS).all() and (found.train.pixels == RGB).all()
    assert found.classes == Pairs.classes and found.test is not None and len(found.test) == 100
    assert read_given(Pairs(RGB, LABELS), classes=list("abcdefghij")).classes == tuple("abcdefghij")


def test_other_sizes_are_cropped_in_the_middle_and_resized():
    wide = np.zeros((12, 20, 3), np.uint8)
    wide[:, 4:16] = 200  # the square in the middle
    images = [Image.fromarray(wide), wide.swapaxes(0, 1), torch.from_numpy(wide).movedim(-1, 0)]
    found = read_given((images, [0, 1, -1]), size=6).train.pixels
    assert found.shape == (3, 6, 6, 3) and (found == 200).all()
    half = read_given((IMAGES, LABELS), size=4).train.pixels
    expected = np.asarray(Image.fromarray(IMAGES[5]).resize((4, 4), Image.Resampling.BILINEAR))
    assert (half[5, :, :, 0] == expected).all()
    assert (read_given((IMAGES, LABELS), size=8).train.pixels == IMAGES[..., None]).all()


FORTY = (IMAGES[:40], LABELS[:40])


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"train": (IMAGES / 255, LABELS)}, ["data: images are float64; give uint8, 0 to 255"]),
        ({"train": (torch.rand(4, 3, 8, 8), [0, 1, 0, 1])}, ["leave ToTensor out of the transform"]),
        ({"train": Pairs(torch.rand(4, 3, 8, 8), [0, 1, 0, 1])}, ["data: image 0 is float32; give uint8"]),
        ({"train": (IMAGES[:, :5], LABELS)}, ["data: 5 x 8 pixels is not square; give data.size"]),
        ({"train": ([IMAGES[0], IMAGES[1][:4, :4]], [0, 1])}, ["image 1 is 4 pixels wide, image 0 8; give data.size"]),
        ({"train": (IMAGES[None, None], LABELS)}, ["images have shape [1, 1, 160, 8, 8]"]),
        ({"train": (IMAGES, LABELS[1:])}, ["data: 160 images, but 159 labels"]),
        ({"train": (IMAGES[:0], LABELS[:0])}, ["data: there are no images"]),
        ({"train": (IMAGES, LABELS / 2)}, ["data: labels are float64 [160]; give integers"]),
        ({"train": (IMAGES, LABELS - 1)}, ["data: label -2 of image"]),
        ({"train": (IMAGES, LABELS + (LABELS >= 0))}, ["data: class 0 has no labeled image; number"]),
        ({"train": (IMAGES, LABELS), "classes": list("abc")}, ["classes: 3 names, but labels up to 9"]),
        ({"train": (IMAGES, LABELS), "classes": list("abcdefghia")}, ["classes: the name 'a' is there more than once"]),
        ({"train": (IMAGES, LABELS), "classes": list("abcdefghijk")}, ["data: class k has no labeled image"]),
        ({"train": (IMAGES, 0 * LABELS)}, ["data: labels name 1 classes; at least 2"]),
        ({"train": IMAGES}, ["data: item 0 is no (image, label) but ndarray"]),
        ({"train": 5}, ["data: expected a data set's name, a folder"]),
        ({"train": (5, LABELS)}, ["data: images are int; give an array"]),
        ({"train": ([Image.new("F", (8, 8))], [0])}, ["data: image 0 has Pillow's mode F"]),
        ({"train": FORTY, "test": (IMAGES, LABELS)}, ["test: image 100 has no label"]),
        ({"train": FORTY, "test": (IMAGES[:10], LABELS[:10] + 10)}, ["test: label 19 of image 9, but there are 10"]),
        ({"train": FORTY, "test": (RGB[:10, :4, :4], LABELS[:10])}, ["test: training and test images have 8 and 4"]),
        ({"train": 5, "test": (IMAGES / 2, LABELS)}, ["data: expected a data set's", "test: images are float64"]),
    ],
)  # fmt: skip
def test_mistakes_are_told_by_name(arguments: dict, expected: list[str]):
    with pytest.raises(UserError) as caught:
        read_given(**arguments)
    assert len(caught.value.messages) == len(expected)
    for message, start in zip(caught.value.messages, expected, strict=True):
        assert start in message


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (LABELS.astype("uint32"), r"data: label 4294967295 of image \d+; uint32 cannot hold -1, give int64"),
        (np.where(LABELS == 3, 10**9, LABELS), r"data: label 1000000000 of image \d+, but there are \d+ images"),
    ],
)
def test_a_label_too_large_is_told_at_once(labels: np.ndarray, message: str):
    with pytest.raises(UserError, match=message):
        read_given((IMAGES, labels))


@pytest.mark.parametrize("classes", [10, "abcdefghij"])
def test_classes_are_a_list_of_names(classes: object):
    with pytest.raises(UserError, match=r"classes: .*; give a list of names"):
        read_given((IMAGES, LABELS), classes=classes)
