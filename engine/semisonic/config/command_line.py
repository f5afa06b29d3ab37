"""From a command line to a configuration: default < recipe < file < command line.

A recipe is a data set's, changed to what the algorithm's paper says for it; see `semisonic.recipes`.

Every mistake is found before anything is built, and all are reported together, each naming its field.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from semisonic.algorithms.registry import ALGORITHMS, BASELINE, DEFAULT
from semisonic.config.checks import find_problems
from semisonic.config.expectations import sized, started_by_init, with_expected
from semisonic.config.fields import RECORDED, algorithm_name, describe_fields, dotted
from semisonic.config.hints import close_to, unknown_field, without_recipe
from semisonic.config.migrations import is_saved, migrated
from semisonic.config.renamed import announce, current, rename
from semisonic.config.run_config import RunConfig
from semisonic.config.sections import section_model
from semisonic.config.unused import unused_problems
from semisonic.config.validation import LONGEST, validated
from semisonic.data.sets.registry import data_sets
from semisonic.plugins import Plugin, load_plugins, plugin_files, require_plugins
from semisonic.recipes import RECIPES, method_changes
from semisonic.records.yaml_text import read_yaml
from semisonic.schema import UserError, expanded
from semisonic.start_up import StartClock


@dataclass(frozen=True)
class Invocation:
    """What a command line asks for."""

    cfg: RunConfig
    resume: bool = False
    extend: bool = False
    """Plan the rest of the resumed run anew, for another number of steps."""
    debug: bool = False
    """Tracebacks of users' mistakes too."""
    verify_data: bool = False
    """Read every image file again, whatever its size and times say."""
    clock: StartClock | None = None
    """What times the start, where it began before this; otherwise the run has one of its own."""


@dataclass
class Arguments:
    """A command line, taken apart: options of the launcher, and dotted fields of the configuration."""

    fields: dict[str, Any]
    """Under their present names."""
    notes: list[str] = dataclasses.field(default_factory=list)
    """What to tell about old ones."""
    config: Path | None = None
    recipe: str | None = None
    plugins: tuple[Plugin, ...] = ()
    """Those that were run: installed ones and those of --plugin."""
    resume: bool = False
    extend: bool = False
    debug: bool = False
    help: bool = False
    list: bool = False
    print_config: bool = False
    plan: bool = False
    verify_data: bool = False
    typed: dict[str, str] = dataclasses.field(default_factory=dict)
    """The fields as they were typed, by their names."""


FLAGS = ("resume", "extend", "debug", "help", "list", "print_config", "plan", "verify_data")


def parse_arguments(argv: Sequence[str]) -> tuple[Arguments, list[str]]:
    """A command line (`--seed 1`, `--seed=1`, `--baseline`, `--no-baseline`) taken apart, and mistakes in its form.

    Plug-ins are run first: what they register is known to all that follows. Raises `UserError` where one fails.
    """
    args, problems = Arguments(fields={}, plugins=load_plugins(plugin_files(argv))), []
    tokens = list(argv)
    while tokens:
        token = tokens.pop(0)
        token = "--help" if token == "-h" else token
        if not token.startswith("--") or token == "--":
            problems.append(f"{token}: expected an option such as --seed 1 (see --help)")
            continue
        typed, has_value, value = token[2:].partition("=")
        name = typed.replace("-", "_")
        if name in FLAGS:
            setattr(args, name, True)
            if has_value:
                problems.append(f"--{name.replace('_', '-')}: takes no value")
            continue
        if not has_value and name.startswith("no_") and _is_switch(name[3:]):
            name, value = name[3:], "off" if name == "no_compile" else "false"
        elif not has_value and tokens and not tokens[0].startswith("--"):
            value = tokens.pop(0)
        elif not has_value and _is_switch(name) and name != "compile":
            value = "true"
        elif not has_value:
            problems.append(_without_value(name, typed))
            continue
        if name == "config":
            try:
                args.config = expanded(value)
            except ValueError as error:
                problems.append(f"--config: {value[:LONGEST]!r} is not valid; expected {error}")
        elif name == "recipe":
            args.recipe = value
        elif name in RECORDED:
            problems.append(f"--{typed}: {RECORDED[name]}")
        elif name != "plugin":
            args.fields[name], args.typed[name] = None if value == "null" else value, typed
    args.fields, args.notes, both = rename(args.fields, dotted=True)
    return args, problems + both


def resolve(argv: Sequence[str], algorithm: str | None = None) -> tuple[Arguments, RunConfig]:
    """The configuration that a command line asks for. Raises `UserError` with every mistake found.

    algorithm: the one of a command line that names none, in place of the recipe's, and without its baseline.
    """
    args, problems = parse_arguments(argv)
    under = {"algorithm": {"name": algorithm}, "baseline": False} if algorithm else {}
    return args, assemble(args, problems, under)


def assemble(args: Arguments, problems: Sequence[str] = (), under: dict[str, Any] | None = None) -> RunConfig:
    """The configuration that arguments ask for, of a command line or of a call in Python.

    problems: mistakes that were found in them so far. under: sections for fields that neither a file nor the arguments
    give, over the recipe's. Raises `UserError` with every mistake.
    """
    from_line, more = nested(args.fields)
    problems = [*problems, *more]
    out, named = from_line.get("out"), args.config is not None
    if args.resume and args.config is None and args.recipe is None and isinstance(out, str | Path):
        # `--resume --out RUN` needs no other field: the run's own configuration is read. It would hide a recipe, with
        # which the fields are those of a whole command.
        written = _folder_named(out) / "config.yaml"
        args.config = written if written.exists() else None
    file = _read_file(args.config)
    from_file = file.fields
    problems += file.problems
    _check_plugins(from_file, args)
    announce(args.notes + (file.notes if named else []))

    # The user's own layers first: what a file says of one optimizer is not said of another on the command line.
    own = _merge(under or {}, _merge(from_file, from_line))
    name = args.recipe or _data_name(own) or "digits"
    if name not in RECIPES and args.recipe:
        near = close_to(name, RECIPES)
        hint = f"did you mean {near}? One of" if near else "one of"
        problems.append(f"--recipe {name}: unknown; {hint} {', '.join(RECIPES)}")
    elif name not in RECIPES and name in data_sets():
        problems += without_recipe(name, own, RECIPES)
    merged = _merge(_recipe(name, own), own)
    if args.recipe and file.saved and merged == own:
        problems.append(f"--recipe {name}: has no effect, for {args.config} has all fields; give one of the two")
    # A baseline that was asked for beside another algorithm is none of a supervised run.
    of_file = "baseline" in from_file and _section(from_file, "algorithm").get("name") in (None, BASELINE)
    if algorithm_name(merged) == BASELINE and "baseline" not in from_line and not of_file:
        merged = {**merged, "baseline": False}
    cfg, more = validated(
        {**merged, "plugins": [plugin.model_dump(exclude_none=True) for plugin in args.plugins]}, args.typed
    )
    problems += more
    if "size" not in _section(own, "data"):
        cfg = sized(cfg, _section(_recipe(name, own), "model").get("name"), args.resume)
    if "pretrained" not in _section(own, "model"):
        cfg = started_by_init(cfg)
    elif cfg.init is not None and cfg.model.pretrained:
        problems.append("model.pretrained: init takes the place of these weights; give one of the two")
    if args.extend and not args.resume:
        problems.append("--extend: plans the rest of a run anew; give --resume as well, and the new length as --steps")
    if cfg.init and not args.resume and not cfg.init.exists():
        problems.append(f"init: there is no checkpoint {cfg.init}")
    if cfg.model.weights and not args.resume and not cfg.model.weights.is_file():
        problems.append(f"model.weights: there is no file {cfg.model.weights}")
    if not args.resume:  # a run that is continued has its fields, whatever they do
        problems += unused_problems(cfg, args.fields, () if file.saved else dotted(from_file), problems)
    # What can still be checked is checked even when some fields are wrong, so that all mistakes show at once.
    problems += [problem for problem in find_problems(cfg) if problem not in problems]
    if problems:
        raise UserError(problems)
    return cfg if args.resume else with_expected(cfg)  # a run that is continued has settled it


def _folder_named(out: str | Path) -> Path:
    """That of a field which is validated later."""
    try:
        return expanded(out)
    except ValueError:
        return Path(out)


def _check_plugins(from_file: dict[str, Any], args: Arguments) -> None:
    """Takes the record of plug-ins out of a file's fields. Raises `UserError` where one of them was not given: without
    it, what it registers would be reported as mistakes."""
    require_plugins(from_file.pop("plugins", None) or (), args.plugins, str(args.config), exact=args.resume)


def _recipe(name: str, own: dict[str, Any]) -> dict[str, Any]:
    """The fields of a recipe, as the user's own layers choose its algorithm, number of labels and steps; {} where there
    is none of that name."""
    if name not in RECIPES:
        return {}
    base = RECIPES[name]()

    def number(value: Any, default: int) -> int:
        usable = isinstance(value, (int, str)) and str(value).isdecimal() and len(str(value)) < LONGEST
        return int(value) if usable else default

    algorithm = _section(own, "algorithm").get("name", base["algorithm"]["name"])
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        return base  # the mistake is found when the fields are validated
    labels = _section(own, "data").get("labels", base["data"].get("labels"))
    labels = None if labels is None else number(labels, 0)
    labeled = number(_section(own, "batch").get("labeled"), 0) or None
    steps = number(own.get("steps"), base["steps"])
    return _merge(base, method_changes(name, base, algorithm, labels, steps, labeled))


def _without_value(name: str, typed: str) -> str:
    """What to say of an option without a value: that it misses one, where there is such an option."""
    fields = {field for algorithm in ALGORITHMS for field, *_ in describe_fields(algorithm)}
    if name in {*fields, *NAMED, *current().fields, "config", "recipe", "plugin"}:
        return f"--{typed}: a value is missing"
    switches = [f"no_{field}" for field in fields if _is_switch(field)]
    if near := close_to(name, switches if name.startswith("no_") else ()):
        return f"--{typed}: unknown option; did you mean --{near.replace('_', '-')}?"
    return unknown_field(name, DEFAULT, f"--{typed}")


def recipe_of(args: Arguments) -> tuple[str, dict[str, Any]]:
    """The name of the recipe that a command line starts from, and its nested fields, as the other fields choose."""
    own, _ = nested(args.fields)
    name = args.recipe or _data_name(own) or "digits"
    recipe = _recipe(name, own)
    # What a recipe says of one optimizer, it does not say of another.
    others = {key for key in NAMED if _section(own, key).get("name", now := _section(recipe, key).get("name")) != now}
    return name, {key: _lasting(key, value) if key in others else value for key, value in recipe.items()}


def _is_switch(name: str) -> bool:
    """Whether a dotted field is a boolean, of any algorithm (or `compile`, which --no-compile turns off)."""
    model: Any = RunConfig
    *sections, leaf = current().fields.get(name, name).split(".")
    if sections == ["algorithm"]:
        return any(_has_switch(kind.Config, leaf) for kind in ALGORITHMS.values())
    for section in sections:
        known = section in getattr(model, "model_fields", {}) and section != "algorithm"
        model = section_model(model, section, DEFAULT) if known else None
    return name == "compile" or _has_switch(model, leaf)


def _has_switch(model: Any, leaf: str) -> bool:
    info = getattr(model, "model_fields", {}).get(leaf)
    return info is not None and (info.annotation is bool or bool in get_args(info.annotation))


@dataclass(frozen=True)
class _File:
    """What `--config` names."""

    fields: dict[str, Any]
    """Under their present names."""
    problems: list[str] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)
    """What to tell about old names."""
    saved: bool = False
    """Whether a run wrote it, and not a user."""


def _read_file(path: Path | None) -> _File:
    if path is None:
        return _File({})
    try:
        content = read_yaml(path, f"--config {path}", pipes=True)
    except UserError as error:
        return _File({}, error.messages)
    if not isinstance(content, dict):
        return _File({}, [f"--config {path}: expected fields and sections, found {type(content).__name__}"])
    if strange := [key for key in content if not isinstance(key, str)]:
        return _File({}, [f"--config {path}: {strange[0]!r} is not a field"])
    if is_saved(content):
        try:
            return _File(migrated(content, f"--config {path}").fields, saved=True)
        except UserError as error:
            return _File({}, error.messages)
    fields, notes, both = rename(content)
    return _File(_expand_names(fields), [f"--config {path}: {line}" for line in both], notes)


NAMED = ("data", "model", "algorithm", "optim")
"""Sections whose name can stand for them."""
LASTING = {"model": ("norm_start_up",)}
"""Fields of theirs that mean the same whatever is named."""


def _expand_names(fields: dict[str, Any]) -> dict[str, Any]:
    """`algorithm: fixmatch` is short for `algorithm: {name: fixmatch}`; so for data, model and optim."""
    return {key: {"name": value} if key in NAMED and isinstance(value, str) else value for key, value in fields.items()}


def _section(fields: dict[str, Any], name: str) -> dict[str, Any]:
    section = fields.get(name)
    return section if isinstance(section, dict) else {}


def nested(dotted: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Dotted fields as nested sections, in whatever order they came, and those that name a section inside a value."""
    nested: dict[str, Any] = {}
    problems = []
    for name, value in dotted.items():
        *sections, field = f"{name}.name".split(".") if name in NAMED else name.split(".")
        target: Any = nested
        for section in sections:
            target = target.setdefault(section, {}) if isinstance(target, dict) else None
        if not isinstance(target, dict) or isinstance(target.get(field), dict):
            problems.append(f"{name}: both a value and a section")
        else:
            target[field] = value
    return nested, problems


def _data_name(fields: dict[str, Any]) -> str | None:
    section = fields.get("data")
    name = section.get("name") if isinstance(section, dict) else None
    return name if isinstance(name, str) else None


def _merge(low: dict[str, Any], high: dict[str, Any]) -> dict[str, Any]:
    """`high` over `low`, section by section; one that names something else than `low`'s starts afresh, but for what
    lasts."""
    merged = dict(low)
    for key, value in high.items():
        old = merged.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            names = {section["name"] for section in (old, value) if isinstance(section.get("name"), str)}
            afresh = key in NAMED and len(names) == 2
            merged[key] = _lasting(key, old) | value if afresh else _merge(old, value)
        else:
            merged[key] = value
    return merged


def _lasting(key: str, section: dict[str, Any]) -> dict[str, Any]:
    """What a section says whatever it names."""
    return {name: value for name, value in section.items() if name in LASTING.get(key, ())}
