"""Links of a built site."""

from pathlib import Path

from _extension.links import dead_links, double_ids


def test_files_and_anchors_that_are_not_there_are_found_with_their_lines(tmp_path: Path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "one.html").write_text(
        '<p id="x">\n<a href="../two.html#y">1</a> <a href="#x">2</a> <a href="https://a.b/#z">3</a>\n'
        '<a href="../two.html#z">4</a>\n<img src="no.png"> <a href="three.html">5</a> <a href="#y">6</a>'
    )
    (tmp_path / "two.html").write_text('<a name="y"></a><a href="a/one.html#x">7</a><a href="">8</a>')
    (tmp_path / "three.html").write_text("left by an earlier build")
    assert list(dead_links(tmp_path, ["a/one.html", "two.html"])) == [
        "a/one.html:3: ../two.html#z", "a/one.html:4: no.png", "a/one.html:4: three.html", "a/one.html:4: #y",
    ]  # fmt: skip


def test_ids_of_two_elements_are_found_with_their_lines(tmp_path: Path):
    (tmp_path / "one.html").write_text(
        '<p id="x"><a name="z"></a>\n<b id="y"><i id="x"></i>\n<u id="x"></u><a id="w" name="w">'
    )
    (tmp_path / "two.html").write_text('<p id="x">')
    assert list(double_ids(tmp_path, ["one.html", "two.html"])) == ["one.html:2: #x", "one.html:3: #x"]
