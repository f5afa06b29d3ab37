"""The reader of where stored results come from is one of the benchmarks; it is found from their folder."""

import sys

from tests.support.processes import ROOT

if str(ROOT / "benchmarks") not in sys.path:
    sys.path.append(str(ROOT / "benchmarks"))
