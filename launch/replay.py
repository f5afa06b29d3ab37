"""Takes a step that was not finite once more: `python launch/replay.py RUN`."""

import sys

from semisonic.cli import replay

if __name__ == "__main__":
    sys.exit(replay(sys.argv[1:]))
