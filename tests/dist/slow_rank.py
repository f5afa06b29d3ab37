"""Run by the tests in place of launch/train.py: rank 1 sleeps in its loader, and readings are a second apart."""

import os
import sys
import time

from semisonic.cli import main
from semisonic.contract import Batch
from semisonic.data.loading.loader import Loader
from semisonic.training import stragglers


def put_in() -> None:
    take = Loader.__next__

    def slow(self: Loader) -> Batch:
        with self._wait:
            time.sleep(0.2)
        return take(self)

    Loader.__next__ = slow  # type: ignore[method-assign]


if __name__ == "__main__":
    stragglers.EVERY = 1.0
    if os.environ["RANK"] == "1":
        put_in()
    sys.exit(main(sys.argv[1:]))
