"""What is read from disassembled machine code."""

from aot.machine_code import no_local_memory, read_code

CODE = """
        .section        .text.kernel
        /*0000*/                   LDC R1, c[0x0][0x28] ;
        /*0010*/                   LDG.E.128 R4, desc[UR4][R2.64] ;
        /*0020*/              @!P0 LDG.E.U8.CONSTANT R6, desc[UR4][R2.64+0x10] ;
        /*0030*/                   LD.E.64 R8, desc[UR4][R2.64] ;
        /*0040*/                   STL [R1+0x8], R4 ;
        /*0050*/                   LDL.64 R10, [R1] ;
        /*0060*/                   LDS R3, [R9] ;
        /*0070*/                   STG.E desc[UR4][R2.64], R4 ;
        /*0080*/                   EXIT ;
"""


def test_accesses_are_counted_by_width_and_spills_apart():
    assert read_code(CODE) == {
        "spills": 2, "instructions": 9, "loads": {"8": 1, "64": 1, "128": 1}, "stores": {"32": 1},
    }  # fmt: skip


def test_local_memory_is_against_the_rules():
    assert no_local_memory("kernel", {"stack": 0, "local": 0, "spills": 0}) == []
    assert no_local_memory("kernel", {"stack": 8, "local": 0, "spills": 2}) == [
        "kernel: 8 bytes of stack", "kernel: 2 loads and stores of spills",
    ]  # fmt: skip
