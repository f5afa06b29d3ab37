"""Things by name: what is built in, and what plug-ins register besides."""

import difflib
from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar

T = TypeVar("T")


class Registry(Mapping[str, T], Generic[T]):
    """Algorithms, add-ons, networks, data sets, ...: a mapping that grows by `register` and never loses an entry."""

    def __init__(self, what: str, entries: Mapping[str, T]):
        """what: of what there are entries, for messages: "algorithm"."""
        self.what, self._entries = what, dict(entries)

    def register(self, name: str, entry: T) -> T:
        """Adds an entry, and returns it. The same one again changes nothing.

        Raises ValueError for a name that is taken, or that no command line could name.
        """
        if not name or not name.replace("-", "").replace("_", "").isalnum() or name != name.lower():
            raise ValueError(f"{self.what} {name!r}: a name is lower-case letters, digits and hyphens")
        if self._entries.setdefault(name, entry) is not entry:
            raise ValueError(f"{self.what} {name!r}: there is one of that name already; choose another")
        return entry

    def __getitem__(self, name: str) -> T:
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def close_to(self, name: str) -> str | None:
        """The name that somebody may have meant."""
        return next(iter(difflib.get_close_matches(name, self, n=1, cutoff=0.5)), None)
