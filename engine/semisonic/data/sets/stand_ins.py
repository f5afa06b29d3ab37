"""Files that lie where an image should be and stand for it: what they are, and how the image itself is got."""

import re

HEAD = 256
"""Bytes of a file that tell what it stands for."""

_KINDS = (
    (rb"version https://git-lfs\.github\.com/spec/", "a pointer of Git LFS to one; git lfs pull fetches it"),
    (rb"(?:/|(?:\.\./)+\.git/)annex/objects/", "a pointer of git-annex to one; git annex get fetches it"),
    (rb"\s*(?:<!doctype html|<html|<head)", "a page of HTML, as servers send in place of a file that is gone"),
    (rb"\s*(?:<\?xml[^>]*>\s*)?(?:<!doctype svg|<svg)", "an SVG drawing, which has no pixels; draw it as PNG"),
    (rb"\s*(?:<\?xml[^>]*>\s*)?<Error>", "a file store's error"),
    (rb"%PDF-", "a PDF; draw its pages as PNG"),
    (rb"....ftyp(?:heic|heix|hevc|mif1|msf1)", "a HEIC image; convert it to JPEG or PNG"),
    (rb"....ftyp|\x1aE\xdf\xa3", "a video"),
    (rb"PK\x03\x04|\x1f\x8b|7z\xbc\xaf|Rar!", "an archive; unpack it"),
    (rb"\x00\x05\x16\x07", "what macOS keeps beside a file (AppleDouble), no image; remove it"),
)  # fmt: skip


def stand_in(data: bytes) -> str:
    """What a file is that no image can be read from: `not an image`, or more where it is known."""
    head = data[:HEAD]
    for pattern, what in _KINDS:
        if re.match(pattern, head, re.IGNORECASE | re.DOTALL):
            return f"not an image but {what}"
    if not any(head):
        return "not an image but zeros, as a copy that was cut off leaves them"
    return "not an image"
