"""What older versions wrote, read as they meant it: fields that were called otherwise, or were not there yet.

A run's config.yaml states its `schema`: a number that every change of the configuration's language raises. Reading an
older one brings its fields under their present names, and gives those that came later the value of `ADDED`: what runs
of that version did, whatever the default is by now. So a run goes on, is evaluated and is compared as what it was.
A field whose default has changed is in `CHANGED`: its saved value stays, also where the command that the run was begun
with comes to another one by now.
Version 0.1.0 wrote no number, which is schema 0.

A file of the user's own is in today's language: what it leaves out is the recipe's. It is told from a saved one by its
contents: a saved one has a `schema`, or every entry that version 0.1.0 wrote.

Adding a field: raise `dump.SCHEMA`, and give the field a line under every older schema whose runs could have it.
Changing a default: the same, with a line in `CHANGED`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from pydantic.fields import FieldInfo
from torch import Tensor

from semisonic.config.dump import SCHEMA
from semisonic.config.renamed import rename, rename_section
from semisonic.records import entries, schemas
from semisonic.records.yaml_text import parse_yaml, read_yaml
from semisonic.schema import Config, UserError

ADDED: Mapping[int, Mapping[str, Any]] = {
    0: {"addons.aum.record": "off", "data.fingerprint": None, "model.fingerprint": None, "plugins": []},
    1: {
        "data.classes": [],
        "data.doubts": "warn",
        "data.duplicates": "warn",
        "data.test": "auto",
        "data.labels_from": "balanced",
        "data.max_file_mb": 512.0,
        "data.max_pixels": 178_956_970,
        "model.norm_start_up": 0.0,
    },
    2: {"checkpoint.snapshots": 0, "data.absent_classes": "refuse", "data.crop_area": 0.2},
    3: {
        "frozen": "off",
        "model.freeze": "none",
        "model.lora_alpha": None,
        "model.lora_layers": "auto",
        "model.lora_rank": 4,
        "model.tune": "full",
        "optim.backbone_lr": 1.0,
        "optim.layer_decay": 1.0,
        "data.crop_ratio": None,
        "data.expected.crop": None,
        "data.expected.interpolation": "bilinear",
        "data.expected.mean": [0.0, 0.0, 0.0],
        "data.expected.source": None,
        "data.expected.std": [1.0, 1.0, 1.0],
        "data.interpolation": "auto",
        "batch.balanced": False,
        "data.weight_column": None,
        "loss.class_weights": "none",
        "data.labels_head": None,
        "data.imbalance": 1.0,
        "data.unlabeled_head": None,
        "data.imbalance_unlabeled": None,
        "data.imbalance_order": "same",
        "model.drop_path": 0.0,
        "model.patch_size": None,
        "model.pretrained": False,
        "algorithm.weak_pass": "joint",
        "addons.prior.kind": "none",
        "addons.prior.momentum": 0.999,
        "addons.prior.target": "labeled",
        "addons.prior.window": 128,
        "algorithm.ce_weight": None,
        "algorithm.lam": "sample",
        "algorithm.loss_switch": 0.5,
        "algorithm.mix_lam": "sample",
        "algorithm.labeled_view": "weak",
        "algorithm.labels": "argmax",
        "algorithm.labeled": "weak",
        "algorithm.teacher_warm_up": 0,
        "batch.unlabeled_bend": 0.7,
        "batch.unlabeled_schedule": "constant",
        "batch.unlabeled_stages": 8,
    },
    4: {"trial": "auto", "model.norm_groups": 1, "parallel.overlap": False},
}
"""Schema -> dotted fields that came after it, with what its runs did. Lines for fields that are not there are unused;
those of the algorithm hold for every algorithm with such a field."""
CHANGED: Mapping[int, Mapping[str, Any]] = {
    1: {"ema.start_up": "none"},
    3: {"data.normalize": "own", "precision": "fp32", "mpl:algorithm.strong": "randaugment(2,16)"},
}
"""Schema -> dotted fields whose default changed after it, with the default that they had; ALGORITHM:FIELD for a field
of one algorithm."""
VIEWS: Mapping[int, tuple[str, str]] = {3: ("randaugment(", "randaugment-signed(")}
"""Schema -> how an augmentation's spec began, and how what it meant then begins since."""
ENTRIES_OF_0 = frozenset({
    "out", "seed", "steps", "baseline", "device", "precision", "compile", "recompute", "kernels", "replay",
    "deterministic", "threads", "max_hours", "init", "data", "batch", "model", "algorithm", "auxiliary", "optim", "ema",
    "eval", "log", "checkpoint", "parallel", "health",
})  # fmt: skip
"""Fields and sections at the top of every config.yaml that version 0.1.0 wrote."""
RECORDS = ("schema", "content", "extended")
"""Entries of config.yaml that are no fields: what a run notes about itself."""


@dataclass(frozen=True)
class Saved:
    """The configuration of a run as it was saved, in today's language."""

    fields: dict[str, Any]
    """Nested."""
    schema: int
    records: dict[str, Any] = field(default_factory=dict)
    """The other entries: `content`, the checksums of files that count, and `extended`, changes of its length."""
    filled: dict[str, Any] = field(default_factory=dict)
    """Dotted fields that its version did not have, with what it did."""
    former: dict[str, Any] = field(default_factory=dict)
    """Dotted fields that it has as its version's default was, which has changed since."""
    respelled: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Dotted fields with an augmentation that is called otherwise now: its name now, and the one it had."""

    @property
    def unlike_today(self) -> dict[str, tuple[Any, Any]]:
        """Those of `filled` and `former` that are not today's default: (what its version did, the default)."""
        there, pairs = known(self.fields), {}
        for name, value in {**self.filled, **self.former}.items():
            default = TypeAdapter(Any).dump_python(there[name].default, mode="json")
            if value != default:
                pairs[name] = value, default
        return pairs

    @property
    def notes(self) -> list[str]:
        """A line on fields that mean something else than today's default, or none."""
        unlike = self.respelled | self.unlike_today
        fields = ", ".join(f"{name}={value}" for name, (value, _) in unlike.items())
        note = f"Begun by an earlier version (schema {self.schema}), and going on as it was: {fields}"
        return [note] if fields else []


def is_saved(content: Mapping[str, Any]) -> bool:
    """Whether a run wrote this configuration, and not a user."""
    return "schema" in content or content.keys() >= ENTRIES_OF_0


def migrated(content: Mapping[str, Any], where: str = "config.yaml") -> Saved:
    """A configuration that a run has saved, in today's language. `content` stays as it is.

    Raises `UserError` for one of a newer version, which names `where`.
    """
    schema = schema_of(content, where)
    fields = rename({name: value for name, value in content.items() if name not in RECORDS}).fields
    there = known(fields)
    filled = {name: value for name, value in added_since(schema).items() if name in there and not _has(fields, name)}
    for name, value in filled.items():
        _put(fields, name, value)
    if field_value(fields, "data.name") == "folder" and _has(fields, "data.pad"):
        _put(fields, "data.pad", None)  # which never had an effect on image files
    changed = changed_since(schema, field_value(fields, "algorithm.name")).items()
    as_before = [name for name, value in changed if name in there and field_value(fields, name) == value]
    respelled = _respell(fields, schema)
    former = {name: field_value(fields, name) for name in as_before}
    records = {name: content[name] for name in RECORDS[1:] if name in content}
    return Saved(fields, schema, records, filled, former, respelled)


def _respell(fields: dict[str, Any], schema: int) -> dict[str, tuple[str, str]]:
    """Brings augmentations under their present names; dotted field -> the spec as it is called now, and as before."""
    found = {}
    for former, present in (VIEWS[old] for old in sorted(VIEWS) if old >= schema):
        for name, value in _leaves({name: fields.get(name) for name in ("algorithm", "addons")}):
            if isinstance(value, str) and value.strip().startswith(former):
                found[name] = present + value.strip().removeprefix(former), value
                _put(fields, name, found[name][0])
    return found


def _leaves(fields: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted names and values of nested fields."""
    for name, value in fields.items():
        if isinstance(value, Mapping):
            yield from list(_leaves(value, f"{prefix}{name}."))
        else:
            yield f"{prefix}{name}", value


def migrated_section(name: str, kind: type[Config], content: Mapping[str, Any], schema: int) -> dict[str, Any]:
    """One section of such a configuration, of this schema, likewise; `kind`: what it is."""
    added = {
        field.removeprefix(f"{name}."): value
        for field, value in added_since(schema).items()
        if field.startswith(f"{name}.")
    }
    return {
        **{field: value for field, value in added.items() if field in kind.model_fields},
        **rename_section(name, kind, content),
    }


def added_since(schema: int) -> dict[str, Any]:
    """The dotted fields that later schemas brought, with what runs of this one did."""
    return since(ADDED, schema)


def changed_since(schema: int, algorithm: Any) -> dict[str, Any]:
    """The dotted fields of a run with this algorithm whose default has changed since, with the former default."""
    parts = [(*name.rpartition(":"), value) for name, value in since(CHANGED, schema).items()]
    return {name: value for of, _, name, value in parts if of in ("", algorithm)}


def since(table: Mapping[int, Mapping[str, Any]], schema: int) -> dict[str, Any]:
    """The lines of a table by schema that hold for runs of this one."""
    # The newest first: what an older schema's line says of a field holds for its runs.
    return {name: value for old in sorted(table, reverse=True) if old >= schema for name, value in table[old].items()}


def schema_of(content: Mapping[str, Any], where: str = "config.yaml") -> int:
    """The schema of a saved configuration. Raises `UserError` for one that this version does not know."""
    schema = content.get("schema", 0)
    if not isinstance(schema, int) or isinstance(schema, bool) or not 0 <= schema <= SCHEMA:
        raise UserError(f"{where}: schema {schema!r} is of another version than this one, which reads 0 to {SCHEMA}")
    return schema


def read_saved(folder: Path) -> Saved:
    """The configuration of the run, or of the checkpoint, in a folder."""
    file = folder / "config.yaml"
    return of_run(read_yaml(file), file)


def read_text(text: str, file: Path) -> Saved:
    """The configuration in the text of a file `config.yaml`."""
    return of_run(parse_yaml(text, str(file)), file)


def of_run(content: Any, file: Path) -> Saved:
    """The configuration that the content of a file `config.yaml` is. Raises `UserError`."""
    return migrated(run_content(content, file), str(file))


def run_content(content: Any, file: Path) -> dict[str, Any]:
    """The content of a run's config.yaml, of which its entries that are no fields are checked. Raises `UserError`."""
    if not isinstance(content, dict):
        raise UserError(f"{file}: not a run's configuration")
    if strange := [name for name in content if not isinstance(name, str)]:
        raise UserError(f"{file}: {strange[0]!r} is not a field")
    schemas.checked(entries.Notes, {name: content[name] for name in RECORDS[1:] if name in content}, str(file))
    return content


def present_tensors(tensors: Mapping[str, Tensor], schema: int, optimizer: bool = False) -> dict[str, Tensor]:
    """The tensors of a checkpoint of this schema under their present names.

    optimizer: the names are those of an optimizer's state, ROLE/PARAMETER/STATE.
    """
    prefixes = former_tensors() if schema == 0 else {}

    def present(name: str) -> str:
        role, slash, own = name.partition("/") if optimizer else ("", "", name)
        old = next((prefix for prefix in prefixes if own.startswith(prefix)), "")
        return role + slash + prefixes.get(old, "") + own.removeprefix(old)

    return {present(name): value for name, value in tensors.items()}


def former_tensors() -> dict[str, str]:
    """Beginnings of tensors' names in checkpoints of schema 0 -> what they begin with now."""
    from semisonic.addons.registry import ADD_ONS

    return {old: f"addons.{name}.{new}" for name, kind in ADD_ONS.items() for old, new in kind.former_tensors.items()}


def known(fields: Mapping[str, Any]) -> dict[str, FieldInfo]:
    """The fields of a run with the algorithm that nested `fields` name, by their dotted names."""
    # Not at the top: who reads one section of a saved configuration needs none of what a run's imports.
    from semisonic.config.fields import algorithm_name, walk_fields
    from semisonic.config.run_config import RunConfig

    return {name: info for name, info, _ in walk_fields(RunConfig, algorithm_name(dict(fields)))}


def field_value(fields: Mapping[str, Any], name: str) -> Any:
    """The value of a dotted field among nested ones; None where there is none."""
    inner: Any = fields
    for part in name.split("."):
        inner = inner.get(part) if isinstance(inner, Mapping) else None
    return inner


def _has(fields: Mapping[str, Any], name: str) -> bool:
    section, _, leaf = name.rpartition(".")
    inner = field_value(fields, section) if section else fields
    return isinstance(inner, Mapping) and leaf in inner


def _put(fields: dict[str, Any], name: str, value: Any) -> None:
    """Gives a nested field a value; a section that is none stays, for its mistake to be told."""
    *sections, leaf = name.split(".")
    for section in sections:
        inner = fields.setdefault(section, {})
        if not isinstance(inner, dict):
            return
        fields = inner
    fields[leaf] = value
