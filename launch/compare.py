"""Compares algorithms over seeds and label counts: `python launch/compare.py --algorithms supervised,fixmatch`."""

import sys

from semisonic.cli import compare

if __name__ == "__main__":
    sys.exit(compare(sys.argv[1:]))
