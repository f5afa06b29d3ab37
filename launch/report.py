"""Writes the page of a run: `python launch/report.py --help`."""

import sys

from semisonic.cli import report

if __name__ == "__main__":
    sys.exit(report(sys.argv[1:]))
