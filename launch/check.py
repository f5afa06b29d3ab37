"""Checks one algorithm: `python launch/check.py --algorithm NAME --plugin FILE`."""

import sys

from semisonic.cli import check

if __name__ == "__main__":
    sys.exit(check(sys.argv[1:]))
