"""The losses that `losses.py` makes are those that are stored.

On the machine and with the versions that wrote the file they are bit-identical. Elsewhere kernels and instruction sets
differ, and a label or a ReLU that flips on a rounding error shows in later steps: without oneDNN the first five steps
differ by 1.3e-4 relative at most, the twelfth by 2.3e-2.
"""

import json
from pathlib import Path

import pytest

from semisonic.algorithms.registry import ALGORITHMS
from tests.golden.losses import BEFORE, FULL, KINDS, REDRAWN, STEPS, losses, main, stored, write


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_losses_have_not_moved(algorithm: str, kind: str):
    expected, found = stored()[algorithm][kind], losses(algorithm, kind)
    assert found[:5] == pytest.approx(expected[:5], rel=1e-3)
    assert found == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_full_weights_move_the_losses_of_what_has_any(algorithm: str):
    start, full = (stored()[algorithm][kind] for kind in KINDS)
    assert len(start) == len(full) == STEPS
    assert (start != full) == (algorithm in FULL)


def test_only_what_draws_otherwise_was_stored_anew():
    lines = [line.split() for line in BEFORE.read_text().splitlines() if not line.startswith("#")]
    before = {(name, kind): [float.fromhex(value) for value in values] for name, kind, *values in lines}
    moved = {name for (name, kind), values in before.items() if stored()[name][kind] != values}
    assert moved == set(REDRAWN) and {name for name, _ in before} <= stored().keys()


def test_writing_one_algorithm_leaves_the_others_alone(tmp_path: Path):
    file = tmp_path / "losses.json"
    file.write_text(json.dumps({name: {kind: [1.0] for kind in KINDS} for name in ("a", "b", "c")}))
    write(["b", "d"], file, lambda name, kind: [2.0 if kind == "start" else 3.0])
    old, new = {"start": [1.0], "full": [1.0]}, {"start": [2.0], "full": [3.0]}
    assert stored(file) == {"a": old, "b": new, "c": old, "d": new}


def test_the_command_prints_losses_exactly(capsys: pytest.CaptureFixture):
    assert main(["supervised", "--hex"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [line[:2] for line in lines] == [["supervised", kind] for kind in KINDS]
    assert [float.fromhex(value) for value in lines[0][2:]] == losses("supervised", "start")
    with pytest.raises(SystemExit):
        main(["fixmach"])
    assert "no algorithm fixmach" in capsys.readouterr().err
