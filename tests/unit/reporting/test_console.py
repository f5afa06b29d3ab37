"""What people see while a run trains: one short line."""

import io

from rich.console import Console

from semisonic.reporting.console import ProgressLines


def test_the_progress_line_is_short():
    def printed(figures: dict[str, object]) -> str:
        file = io.StringIO()
        lines = ProgressLines(Console(file=file, width=200), None, 100, 0)
        lines.trained(10, {"images_per_second": 1.0, "data_wait": 0.0, "train/loss": 1.0, **figures})
        return file.getvalue()

    assert "coverage 63 % precision 97 %" in printed({"train/coverage": 0.63, "train/pseudo_label_precision": 0.974})
    assert "2 collapsed" in printed({"train/coverage": 0.63, "train/collapsed": 2})
    assert "coverage" not in printed({}) and "precision" not in printed({"train/coverage": 0.6})
