"""Where the engine reads a field."""

from pathlib import Path

from _extension.readers import readers


def test_a_file_reads_a_field_by_its_section_or_in_its_section_s_room(tmp_path: Path):
    for name, text in {
        "config/run.py": "class Batch:\n    micro = 1\n\n    def f(self):\n        return self.micro\n",
        "training/step.py": "print(cfg.batch.micro, cfg.seed)",
        "training/other.py": "print(micro.batch, cfg.micro, 'batch.micro', seed.cfg)",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    found = readers(tmp_path, {"batch.micro": "config/run.py", "seed": "config/run.py"})
    assert found == {"batch.micro": ["config/run.py", "training/step.py"], "seed": ["training/step.py"]}
