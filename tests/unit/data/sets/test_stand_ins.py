"""Files that stand for an image are named as what they are."""

from pathlib import Path

import pytest

from semisonic.data.sets.stand_ins import stand_in
from tests.support.image_folders import encoded, errors_of, write_all

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
KNOWN = {
    LFS: "git lfs pull",
    b"/annex/objects/SHA256E-s31390--f50d7ac4.png\n": "git annex get",
    b"../../.git/annex/objects/Zk/01/x.png": "git annex get",
    b"<!DOCTYPE html>\n<html lang=en><title>404</title>": "HTML",
    b"\r\n  <html><body>Sign in</body></html>": "HTML",
    b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>': "SVG",
    b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>AccessDenied</Code></Error>': "file store",
    b"%PDF-1.7\n": "PDF",
    b"\0\0\0\x18ftypheic\0\0\0\0": "HEIC",
    b"\0\0\0\x20ftypisom\0\0\2\0": "video",
    b"PK\x03\x04\x14\0": "archive",
    b"\0\5\x16\7\0\2\0\0": "macOS",
    bytes(4096): "zeros",
}


@pytest.mark.parametrize("data", KNOWN, ids=KNOWN.values())
def test_what_stands_for_an_image_is_named(data: bytes):
    assert stand_in(data).startswith("not an image but ") and KNOWN[data] in stand_in(data)


def test_what_is_not_known_is_no_image():
    assert stand_in(b"something else") == "not an image"


def test_a_scan_says_how_the_image_is_got(tmp_path: Path):
    write_all(tmp_path, {"2.png": LFS, "3.png": encoded("RGB", "PNG")})
    lines = errors_of(tmp_path)
    assert any("train/b/2.png: not an image but a pointer of Git LFS" in line for line in lines), lines
