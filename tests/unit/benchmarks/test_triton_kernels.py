"""The Triton kernels compile for GPUs that are not here, which their interpreter says nothing about, into registers."""

import pytest

from aot.machine_code import tools
from aot.triton_kernels import CASES, grown
from aot.triton_launches import FORMS, launches_of
from tests.support.aot_tables import made, without_gpu, wrong

pytestmark = pytest.mark.skipif(not (tools() / "ptxas").exists(), reason="this Triton comes without NVIDIA's assembler")

QUICK = ["ema, sm_90", "sgd and ema, sm_90", "augment, sm_90", "augmix, sm_90"]
"""One form of every kernel."""


def test_kernels_compile_for_hopper_and_a_spill_is_found():
    kernels = {launch.name for form in FORMS for launch in launches_of(form)}
    table, spilled = made(("kernels", "", QUICK), ("kernels", "spill", QUICK[:1]))
    assert {row["kernel"] for row in table["rows"].values()} == kernels
    assert wrong("kernels", table) == []
    assert any(line.startswith("ema, sm_90: ") and line.endswith("spills") for line in wrong("kernels", spilled))


@pytest.mark.long
def test_every_form_compiles_for_three_generations():
    (table,) = made(("kernels", "", list(CASES)))
    assert list(table["rows"]) == list(CASES) == list(without_gpu().module_of("kernels").CASES)
    assert wrong("kernels", table) == []


def test_narrower_accesses_and_more_registers_are_worse_than_stored():
    row = {"registers": 32, "spills": 0, "loads": {"8": 2, "128": 4}, "stores": {"32": 4}}
    assert grown("k", row, row) == [] == grown("k", row | {"loads": {"8": 2, "128": 8}}, row)
    assert grown("k", row | {"registers": 40}, row) == ["k: registers was 32 and is 40"]
    assert grown("k", row | {"loads": {"8": 3}}, row) == ["k: loads of 8 bits were 2 and are 3"]
