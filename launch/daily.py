"""A labeling project: `python launch/daily.py PROJECT next`; accelerate and torchrun start train, label, choose."""

import sys

from semisonic.cli import daily

if __name__ == "__main__":
    sys.exit(daily(sys.argv[1:]))
