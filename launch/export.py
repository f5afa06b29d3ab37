"""Writes a trained network as a file for other programs: `python launch/export.py --help`."""

import sys

from semisonic.cli import export

if __name__ == "__main__":
    sys.exit(export(sys.argv[1:]))
