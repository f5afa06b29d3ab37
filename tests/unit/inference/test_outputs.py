"""The columns of a table, each named once, of types that do not change."""

import csv
import io
import os

import numpy as np
import pytest
import torch
from torch import nn

from semisonic.inference.classifier import Classifier
from semisonic.inference.outputs import Outputs, Wanted, best, columns_of, encoded, joined, no_rows, outputs_of
from semisonic.schema import UserError

CLASSES = ["=cat", "dog\n", "elk"]
PROBABILITIES = np.array([[0.2, 0.3, 0.5], [0.4, 0.4, 0.2]], np.float32)
ABOUT = {"classes": CLASSES, "image_size": 4, "mean": [0.5] * 3, "std": [0.25] * 3}


class Flat(nn.Module):
    """Of images [N, 3, 4, 4]: the mean of each channel, and a head."""

    feature_dim = 3

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 3)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        return images.mean((2, 3))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(images))


def classifier(network: nn.Module | None = None, **preprocess: object) -> Classifier:
    about = ABOUT | {"preprocess": {"view": "whole", "border": 0} | preprocess}
    return Classifier(network or Flat(), about).eval()


def test_classes_come_by_probability_and_equal_ones_by_their_number():
    order, values = best(PROBABILITIES, 5)
    assert order.tolist() == [[2, 1, 0], [0, 1, 2]] and values[1].tolist() == pytest.approx([0.4, 0.4, 0.2])


def test_columns_are_named_once_and_what_was_not_asked_for_is_not_there():
    made = columns_of(["a", "b"], Outputs(PROBABILITIES), CLASSES, Wanted(top=2))
    assert list(made) == ["path", "class", "confidence", "top2_class", "top2_probability"]
    assert made["class"] == ["elk", "=cat"] and made["confidence"].tolist() == pytest.approx([0.5, 0.4])
    assert list(columns_of(["a", "b"], Outputs(PROBABILITIES), CLASSES, Wanted(top=1))) == [
        "path",
        "class",
        "confidence",
    ]
    wanted = Wanted(top=9, probabilities=True, logits=True, features=True)
    whole = Outputs(PROBABILITIES, PROBABILITIES, np.zeros((2, 3), np.float32))
    names = list(columns_of(["a", "b"], whole, CLASSES, wanted))
    assert names[5:] == ["top3_class", "top3_probability", *(f"probability_{name}" for name in CLASSES),
                         *(f"logit_{name}" for name in CLASSES), "feature_0", "feature_1", "feature_2"]  # fmt: skip
    assert list(no_rows(classifier(), wanted)) == names


def test_a_table_without_rows_has_the_types_of_one_with_rows():
    from pyarrow import parquet

    wanted = Wanted(top=2, features=True)
    some = columns_of(["a"], Outputs(PROBABILITIES[:1], None, np.zeros((1, 3), np.float32)), CLASSES, wanted)
    tables = [encoded(table, "parquet") for table in (some, no_rows(classifier(), wanted))]
    schemas = [parquet.read_schema(io.BytesIO(table)) for table in tables]
    assert schemas[0] == schemas[1] and {str(kind) for kind in schemas[0].types} == {"string", "float"}


def test_text_is_safe_in_a_csv_and_as_it_is_in_parquet():
    from pyarrow import parquet

    odd = os.fsdecode(b"\xff.png")
    made = columns_of([odd, "b"], Outputs(PROBABILITIES), CLASSES, Wanted(top=1))
    rows = list(csv.reader(io.StringIO(bytes(encoded(made, "csv")).decode())))
    assert rows[1:] == [["\\xff.png", "elk", "0.5"], ["b", "'=cat", "0.4"]]
    found = parquet.read_table(io.BytesIO(encoded(made, "parquet"))).to_pydict()
    assert found["path"] == ["\\xff.png", "b"] and found["class"] == ["elk", "=cat"]


def test_outputs_are_means_over_views_of_the_rows_that_count():
    model, views = classifier(), [torch.randint(0, 256, (3, 3, 4, 4), dtype=torch.uint8) for _ in range(2)]
    plain = outputs_of(model, views[:1], 2, Wanted())
    assert plain.logits is None and plain.features is None and plain.probabilities.dtype == np.float32
    assert np.allclose(plain.probabilities, model(views[0])[:2].detach().softmax(-1))
    mean = outputs_of(model, views, 2, Wanted(views=2, logits=True, features=True))
    expected = sum(model(view).detach().softmax(-1) for view in views)[:2] / 2
    assert np.allclose(mean.probabilities, expected, atol=1e-6)
    assert mean.logits is not None and mean.features is not None
    assert np.allclose(mean.logits, sum(model(view).detach() for view in views)[:2] / 2, atol=1e-6)
    both = joined([mean, mean])
    assert both.features is not None and both.features.shape == (4, 3) and joined([plain]).logits is None


def test_what_a_classifier_cannot_give_is_told_together():
    with pytest.raises(UserError) as caught:
        Wanted(top=0, views=2, features=True).check(classifier(nn.Flatten()))
    assert [line.split(":")[0] for line in caught.value.messages] == ["--top", "--views", "--features"]
    Wanted(views=2, features=True).check(classifier(flip=True, pad=1))
