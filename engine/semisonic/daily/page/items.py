"""What the server tells itself by way of the browser: of each image shown, what was shown of it.

An item is sealed. The browser can neither read nor make one, so nothing there tells an image that a reviewer sees for
the second time from one that is new; and it lasts, as its key is in the project's store, so that answers which wait
while the server is away can be sent to the next one.
"""

import base64
import binascii
import hmac
import os
import struct
from typing import NamedTuple

_LAYOUT = struct.Struct(">qqqqB")
_NONCE = 12
_MARK = 16
KEY_BYTES = 32


class Item(NamedTuple):
    image: int
    seen: int | None
    """The image's newest event when it was shown."""
    label: int | None
    """The class that was shown as its label."""
    guess: bool
    """Whether anything was shown of what it may be."""
    first: int | None = None
    """Of a hidden repeat: the event of the first look."""


class Seal:
    def __init__(self, key: bytes) -> None:
        self._cipher = hmac.digest(key, b"cipher", "sha256")
        self._mark = hmac.digest(key, b"mark", "sha256")

    def close(self, item: Item) -> str:
        plain = _LAYOUT.pack(item.image, item.seen or 0, item.label or 0, item.first or 0, item.guess)
        nonce = os.urandom(_NONCE)
        sealed = nonce + self._masked(nonce, plain)
        return base64.urlsafe_b64encode(sealed + self._marked(sealed)).decode()

    def open(self, text: str) -> Item:
        """Raises ValueError for what `close` of this key has not made."""
        try:
            data = base64.b64decode(text.encode("ascii"), b"-_", validate=True)
        except (UnicodeEncodeError, binascii.Error):
            raise ValueError("no item of this page") from None
        sealed, mark = data[:-_MARK], data[-_MARK:]
        if len(sealed) != _NONCE + _LAYOUT.size or not hmac.compare_digest(mark, self._marked(sealed)):
            raise ValueError("no item of this page")
        image, seen, label, first, guess = _LAYOUT.unpack(self._masked(sealed[:_NONCE], sealed[_NONCE:]))
        return Item(image, seen or None, label or None, bool(guess), first or None)

    def draw(self, text: str) -> float:
        """A number in [0, 1) that this key draws for a text: the same each time, and known to nobody else."""
        drawn = hmac.digest(self._mark, b"draw " + text.encode("utf-8", "surrogatepass"), "sha256")
        return int.from_bytes(drawn[:6], "big") / 2**48

    def _masked(self, nonce: bytes, data: bytes) -> bytes:
        """Adds or takes off a key stream that a nonce has to itself."""
        stream = hmac.digest(self._cipher, nonce, "sha512")
        return bytes(a ^ b for a, b in zip(data, stream, strict=False))

    def _marked(self, sealed: bytes) -> bytes:
        return hmac.digest(self._mark, b"item " + sealed, "sha256")[:_MARK]
