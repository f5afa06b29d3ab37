"""The one listing: which files are taken, which are passed over and why, and what cannot be read."""

import os
from pathlib import Path

import pytest

from semisonic.data.sets.walk import PassedOver, find_images, is_passed_over, is_written


def write(root: Path, names: str) -> None:
    for name in names.split():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")


def listed(folder: Path, root: Path | None = None) -> tuple[list[str], PassedOver]:
    passed = PassedOver()
    return find_images(folder, root or folder, passed), passed


def test_names_are_relative_to_the_root_sorted_or_absolute_outside_of_it(tmp_path: Path):
    write(tmp_path, "a/2.png a/10.JPG a/b/1.tiff c.webp")
    assert listed(tmp_path)[0] == ["a/10.JPG", "a/2.png", "a/b/1.tiff", "c.webp"]
    assert listed(tmp_path / "a", tmp_path)[0] == ["a/10.JPG", "a/2.png", "a/b/1.tiff"]
    assert listed(tmp_path / "a/b", tmp_path / "x")[0] == [str(tmp_path / "a/b/1.tiff")]


def test_what_is_passed_over_is_counted_by_ending_with_advice(tmp_path: Path):
    write(tmp_path, "a/1.heic a/2.HEIC b/3.heic b/clip.mp4 b/IMG_1 ok.png")
    paths, passed = listed(tmp_path)
    assert paths == ["ok.png"]
    assert passed.endings == {".heic": 3, ".mp4": 1, "": 1}
    (line,) = passed.notes()
    assert line == (
        "5 files passed over, no images by name: .heic: 3, .mp4: 1, without an ending: 1, such as a/1.heic; convert them "
        "to .jpg or .png; take images out of the films; give image files their ending, such as .jpg"
    )


TOOL_MADE = "@eaDir/a.png/S.jpg .DS_Store __MACOSX/a.png ._a.png .ipynb_checkpoints/a-checkpoint.png Thumbs.db"
MORE_TOOL_MADE = ".thumbnails/a.png .git/a.png thumbs.db $RECYCLE.BIN/a.png #recycle/a.png lost+found/a.png .hidden.jpg"


def test_hidden_and_tool_made_files_are_no_images(tmp_path: Path):
    write(tmp_path, f"a.png {TOOL_MADE} {MORE_TOOL_MADE}")
    paths, passed = listed(tmp_path)
    assert paths == ["a.png"] and not passed.endings
    assert passed.tools["@eaDir"] == 1 and passed.tools["._*"] == 1 and passed.tools[".*"] == 5
    assert passed.notes()[0].startswith("13 entries of tools passed over (.*: 5, ")
    assert not is_passed_over("tools") and not is_passed_over("recycle")


def test_what_this_program_wrote_is_no_data(tmp_path: Path):
    write(tmp_path, "a/1.png a/runs/x/config.yaml a/runs/x/status.json a/runs/x/confusion.png a/runs/x/deep/2.png")
    write(tmp_path, "a/step-4/config.yaml a/step-4/state.json a/step-4/3.png a/killed/split.npz a/killed/images.npz")
    write(tmp_path, "a/begun/.lock a/.lock")
    paths, passed = listed(tmp_path)
    assert paths == ["a/1.png"] and not passed.endings
    assert sorted(passed.written) == ["a/begun/", "a/killed/", "a/runs/x/", "a/step-4/"]
    assert passed.notes()[-1].startswith("passed over, written by semisonic: a/")
    assert is_written(["evaluation.json"], [], ["confusion.png"]) and is_written(["compare.html", "runs.csv"], [], [])
    assert not is_written([], [], ["confusion.png"]) and not is_written(["split.npz"], [], [])
    assert not is_written(["config.yaml"], ["train"], ["a.png"])


def test_links_are_followed_once_and_lost_ones_are_reported(tmp_path: Path):
    write(tmp_path, "data/a/1.png pool/2.png")
    data = tmp_path / "data"
    for name, target in {
        "a/pool": "../../pool", "a/back": "../..", "b": "/not/mounted", "v1.2": "nowhere", "me": "me",
        "notes.txt": "nowhere", "gone.png": "nowhere",
    }.items():  # fmt: skip
        (data / name).symlink_to(target)
    paths, passed = listed(data)
    assert paths == ["a/1.png", "a/back/pool/2.png", "gone.png"]  # whose reason the scan says
    assert passed.endings == {".txt": 1}
    assert sorted(passed.broken) == [
        (str(data / "b"), "a link to /not/mounted: No such file or directory"),
        (str(data / "me"), "a link to me: Too many levels of symbolic links"),
        (str(data / "v1.2"), "a link to nowhere: No such file or directory"),
    ]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read all folders")
def test_a_folder_that_may_not_be_read_is_reported(tmp_path: Path):
    write(tmp_path, "a/1.png b/2.png")
    (tmp_path / "b").chmod(0)
    try:
        paths, passed = listed(tmp_path)
    finally:
        (tmp_path / "b").chmod(0o700)
    assert paths == ["a/1.png"] and passed.broken == [(str(tmp_path / "b"), "Permission denied")]


def test_a_folder_that_cannot_be_listed_is_reported(tmp_path: Path, monkeypatch):
    write(tmp_path, "a/1.png b/2.png")
    real = os.scandir

    def refuse(path: str):
        if path.endswith("/b"):
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", refuse)
    paths, passed = listed(tmp_path)
    assert paths == ["a/1.png"] and passed.broken == [(str(tmp_path / "b"), "Permission denied")]


def test_no_file_is_asked_about_beyond_its_folder_s_own_entry(tmp_path: Path, monkeypatch):
    write(tmp_path, "a/1.png a/2.png a/notes.txt a/b/3.png")
    asked: list[str] = []
    real = os.stat
    monkeypatch.setattr(os, "stat", lambda path, **options: asked.append(str(path)) or real(path, **options))
    assert len(listed(tmp_path)[0]) == 3
    assert len(asked) == 3 and not any("." in os.path.basename(path) for path in asked)


def test_counts_of_several_folders_add_up(tmp_path: Path):
    write(tmp_path, "a/1.heic a/.x b/2.heic b/3.txt")
    passed = PassedOver()
    for name in ("a", "b"):
        own = PassedOver()
        find_images(tmp_path / name, tmp_path, own)
        passed.add(own)
    assert passed.endings == {".heic": 2, ".txt": 1} and passed.tools == {".*": 1}
    assert passed.first == {".heic": "a/1.heic", ".txt": "b/3.txt"}
