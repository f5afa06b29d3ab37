"""What this program draws is never what it trains on."""

from pathlib import Path

from semisonic.data.sets.manifest import inspect
from semisonic.data.sets.own_pictures import signed
from semisonic.inspection.sheet import Sheet
from semisonic.inspection.sheet_png import png
from semisonic.reporting.pictures import drawing, saved
from tests.support.image_folders import errors_of, load_it, picture, write_all


def test_its_own_pictures_are_no_images_wherever_they_lie(tmp_path: Path):
    write_all(tmp_path, {})
    picture(shift=9).save(tmp_path / "train/a/sheet.png", pnginfo=signed())
    assert errors_of(tmp_path)[1] == (
        f"data.root: cannot decode {tmp_path / 'train/a/sheet.png'}: a picture that semisonic made, not one of the data"
    )
    assert len(load_it(tmp_path, bad_files="skip").train) == 2


def test_figures_and_sheets_are_signed(tmp_path: Path):
    from matplotlib.figure import Figure

    with drawing():
        figure = Figure((1, 1))
        (tmp_path / "figure.png").write_bytes(saved(figure, "png", dpi=20))
    (tmp_path / "sheet.png").write_bytes(png(Sheet("title", "subtitle")))
    for name in ("figure.png", "sheet.png"):
        assert inspect(str(tmp_path / name))[3] == "a picture that semisonic made, not one of the data"
