"""The contact sheet of a run shows the run's own first samples."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from semisonic.config.command_line import resolve
from semisonic.data.loading.calls import Placement
from semisonic.data.loading.loader import Loader, Sampling
from semisonic.data.sets.registry import load_data_set
from semisonic.reporting.run_views import FILE, block, save_run_views, streams_of
from semisonic.training.build import draw_split

FIELDS = [
    "--device",
    "cpu",
    "--threads",
    "1",
    "--batch.labeled",
    "16",
    "--batch.unlabeled-ratio",
    "3",
    "--data.labels",
    "40",
]


@pytest.mark.parametrize("more", [[], ["--algorithm", "enaet"], ["--batch.balanced", "true", "--seed", "3"]])
def test_its_images_are_the_first_of_the_run(more: list[str]):
    cfg = resolve([*FIELDS, *more])[1]
    data = load_data_set(cfg.data)
    split = draw_split(cfg, data)
    sampling = Sampling(cfg.seed, cfg.batch.labeled, cfg.batch.unlabeled, balanced=cfg.batch.balanced, steps=cfg.steps)
    placement = Placement.of(cfg.loading, torch.device("cpu"))
    with Loader(data, split, cfg.views, sampling, placement) as loader:
        batch = next(loader)
    streams = {name: rest for name, *rest in streams_of(cfg, data, split, 8)}
    assert {*streams} == {"labeled", "unlabeled"}
    for name, images, index in (("labeled", batch.x, batch.x_index), ("unlabeled", batch.u, batch.u_index)):
        specs, rows_N, part, captions = streams[name]
        assert rows_N.tolist() == getattr(split, name)[index[:8].tolist()].tolist()
        assert {*specs} == {*images} == {*captions}
        for view, pixels in images.items():
            assert (part.views[view] == pixels[:8]).all() and len(captions[view]) == 8


def test_a_stream_is_a_row_a_view_with_the_true_labels_below_the_originals(tmp_path: Path):
    cfg = resolve([*FIELDS, "--batch.labeled", "4"])[1]
    data = load_data_set(cfg.data)
    split = draw_split(cfg, data)
    labeled, unlabeled = (block(cfg, data, *stream) for stream in streams_of(cfg, data, split, 8))
    assert list(labeled.names) == ["original", "weak"] and list(unlabeled.names) == [
        "original",
        "weak",
        "strong: fixmatch",
    ]
    assert len(labeled.heads) == 4 and len(unlabeled.heads) == 8  # as a step reads them
    for made, rows in ((labeled, split.labeled), (unlabeled, split.unlabeled)):
        for cell in made.rows[0]:
            number, label = (text.split()[1] for text in cell.caption)
            assert int(number.replace(",", "")) in rows
            assert label == data.classes[data.train.labels[int(number.replace(",", ""))]]
    assert "does not see the labels" in unlabeled.note and any(
        "cutout" in line for line in unlabeled.rows[2][0].caption
    )
    save_run_views(cfg, data, split, tmp_path / "new" / FILE)
    with Image.open(tmp_path / "new" / FILE) as picture:
        assert picture.info["Software"] == "semisonic" and np.asarray(picture).std() > 10
