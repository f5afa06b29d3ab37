"""How kernels in plain torch are run, shown by a function whose reference gives something else."""

import pytest
import torch
from torch import Tensor

from semisonic_kernels.fuse import fused, use_kernels

pytestmark = pytest.mark.kernels("fused")


@pytest.fixture(autouse=True)
def without_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """What torch traces, and when it traces anew, without the seconds that its code generator takes."""
    compile = torch.compile
    monkeypatch.setattr(
        torch, "compile", lambda function, **options: compile(function, **({"backend": "aot_eager"} | options))
    )


def _doubled_reference(x: Tensor, factor: float = 1.0) -> Tensor:
    return x - 1


def _refuse_integers(x: Tensor, factor: float = 1.0) -> None:
    if not x.is_floating_point():
        raise ValueError("doubled: x must be floating")


@fused(_doubled_reference, _refuse_integers)
def _doubled(x: Tensor, factor: float = 1.0) -> Tensor:
    return 2 * factor * x


def test_reference_kernels_replace_the_fused_ones_and_come_back() -> None:
    x = torch.tensor([3.0])
    assert _doubled(x).item() == 6
    with use_kernels("reference"):
        assert _doubled(x).item() == 2
        with use_kernels("reference"):
            assert _doubled(x).item() == 2
        assert _doubled(x).item() == 2
    with pytest.raises(RuntimeError, match="inside"), use_kernels("reference"):
        raise RuntimeError("inside")
    assert _doubled(x).item() == 6
    for which, expected in (("reference", 2), ("eager", 2), ("fused", 6)):
        with use_kernels(which):
            assert _doubled(x).item() == expected
    assert _doubled(x).item() == 6
    with pytest.raises(ValueError, match="expected 'fused', 'eager' or 'reference'"):
        use_kernels("quick")
    with pytest.raises(ValueError, match="must be floating"):
        _doubled(x.long())


def test_without_a_compiler_a_form_of_its_own_stands_in_for_the_reference() -> None:
    call = fused(lambda x: x + 1, lambda x: None, lambda x: x + 2)(lambda x: x + 3)
    x = torch.zeros(3)
    for which, expected in (("reference", 1), ("eager", 2), ("fused", 3)):
        with use_kernels(which):
            assert (call(x) == expected).all()


def test_a_compiled_graph_follows_the_switch() -> None:
    call = torch.compile(lambda x: _doubled(x) + 1, fullgraph=True, backend="eager")
    x = torch.tensor([3.0, 4.0])
    assert call(x).tolist() == [7, 9]
    with use_kernels("reference"):
        assert call(x).tolist() == [3, 4]
    with torch._dynamo.config.patch(error_on_recompile=True):
        assert call(x).tolist() == [7, 9]


def test_every_layout_type_and_number_has_a_graph_of_its_own() -> None:
    """So that none counts towards torch's limit of recompilations of one function, at which it fails."""
    x = torch.rand(4, 3)
    with torch._dynamo.config.patch(error_on_recompile=True):
        for factor in (0.5, 1.0):
            assert _doubled(x, factor).equal(2 * factor * x)
        assert _doubled(x.t(), factor=0.5).equal(x.t())
        assert _doubled(x.double(), factor=0.5).equal(x.double())


def test_equal_sizes_are_not_taken_for_a_rule_also_after_a_reset() -> None:
    square, other = torch.randn(4, 4), torch.randn(3, 4)
    _doubled(square)
    torch._dynamo.reset()
    _doubled(square)
    with torch._dynamo.config.patch(error_on_recompile=True):
        assert torch.equal(_doubled(other), 2 * other)
