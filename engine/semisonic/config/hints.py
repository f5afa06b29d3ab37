"""What somebody may have meant who named a field, an option or a value that there is not."""

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any

from semisonic.algorithms.registry import ALGORITHMS
from semisonic.config.fields import describe_fields

SECTIONS = ("algorithm", "data", "model", "optim")
"""Sections that stand for their names."""
OPTIONS = ("--config", "--debug", "--extend", "--help", "--list", "--plan", "--plugin", "--print-config", "--recipe",
           "--resume", "--verify-data")  # fmt: skip
_LABELED = "the labeled images of a step are batch.labeled, the unlabeled ones batch.unlabeled_ratio times as many"
_EPOCHS = (
    "a run is counted in steps: --steps N; an epoch of the unlabeled pool is its images / (batch.labeled x "
    "batch.unlabeled_ratio) steps, and --plan prints the epochs of N"
)
HABITS: Mapping[str, str] = {
    **dict.fromkeys(("batch_size", "batchsize", "bs", "train_batch_size", "batch"), _LABELED),
    **dict.fromkeys(("epochs", "epoch", "num_epochs", "n_epochs", "max_epochs", "epoch_steps"), _EPOCHS),
    **{
        habit: f"that is {field}"
        for field, habits in {
            "steps": ("iterations", "iters", "num_iters", "max_steps", "num_train_iter", "total_steps", "kimg"),
            "optim.lr": ("learning_rate", "rate"),
            "optim.weight_decay": ("wd", "decay"),
            "optim.schedule": ("scheduler", "lr_schedule", "lr_scheduler"),
            "optim (--optim sgd)": ("optimizer", "opt"),
            "optim.warm_up": ("warmup", "warmup_steps", "num_warmup_iter"),
            "optim.clip": ("grad_clip", "clip_grad", "max_grad_norm"),
            "batch.unlabeled_ratio": ("mu", "uratio", "ulb_ratio"),
            "batch.micro": ("grad_accum", "accumulation_steps", "gradient_accumulation_steps"),
            "data.labels": ("num_labels", "n_labels", "n_labeled", "num_labeled", "labeled"),
            "data (--data cifar10)": ("dataset", "data_set", "dataset_name"),
            "data.root": ("data_dir", "data_path", "data_root", "dataroot", "images"),
            "data.size": ("img_size", "image_size", "resolution"),
            "model (--model wrn-28-2)": ("arch", "architecture", "backbone", "net", "network"),
            "model.weights": ("pretrained", "pretrained_weights", "weights"),
            "algorithm (--algorithm fixmatch)": ("alg", "algo", "method"),
            "algorithm.threshold": ("tau", "p_cutoff", "cutoff", "confidence"),
            "algorithm.weight": ("lambda_u", "ulb_loss_ratio", "unlabeled_weight"),
            "ema.decay": ("ema_m", "ema_decay"),
            "eval.every": ("num_eval_iter", "eval_interval", "eval_steps"),
            "checkpoint.every": ("save_every", "save_interval", "save_steps"),
            "out": ("save_dir", "output", "output_dir", "out_dir", "log_dir", "logdir", "run_dir"),
            "init": ("load_path", "finetune"),
            "threads, and data.workers for new image files": ("num_workers", "workers", "n_workers"),
            "precision (--precision bf16)": ("amp", "fp16", "bf16", "half", "mixed_precision", "dtype"),
            "device (--device cuda)": ("gpu", "gpus", "cuda", "cpu"),
            "log.trackers (--log.trackers wandb)": ("wandb", "tensorboard", "tracker", "logger"),
        }.items()
        for habit in habits
    },
}
"""What other programs call things, and what to write here."""


def unknown_fields(path: list[str], given: Mapping[str, Any], algorithm: str, typed: Mapping[str, str]) -> list[str]:
    """A line for each field at a path of nested `given` ones, or below it, that there is not.

    typed: dotted fields as they were typed on the command line.
    """
    inner: Any = given
    for part in path:
        inner = inner.get(part) if isinstance(inner, Mapping) else None
    return [unknown_field(name, algorithm, typed.get(name, name)) for name in _leaves(inner, ".".join(path))]


def _leaves(value: Any, name: str) -> list[str]:
    if not isinstance(value, Mapping) or not value:
        return [name]
    return [leaf for key, inner in value.items() for leaf in _leaves(inner, f"{name}.{key}")]


def unknown_field(name: str, algorithm: str, typed: str) -> str:
    """What to say of a dotted field that there is not; typed: as it was given."""
    section, _, leaf = name.rpartition(".")
    owners = [kind for kind, found in ALGORITHMS.items() if leaf in found.Config.model_fields]
    if section == "algorithm" and owners:
        *some, last = owners
        others = f"{', '.join(some)} and {last} have" if some else f"{last} has"
        return f"{typed}: {algorithm} has no such field; {others} it"
    known = [field for field, *_ in describe_fields(algorithm)]
    same = [field for field in known if field.rpartition(".")[2] == leaf]
    if same and not (not section and leaf in HABITS):
        return f"{typed}: unknown field; did you mean {same[0]}?"
    if leaf in HABITS and section in ("", "optim", "train", "training"):
        return f"{typed}: unknown field; {HABITS[leaf]}"
    options = {option.removeprefix("--").replace("-", "_"): option for option in OPTIONS}
    sections = {field.rpartition(".")[0] for field in known} - {""}
    near = close_to(name, [*known, *sections, *options, *(HABITS if not section else ())])
    if near is None:  # a section that is there, and a leaf that looks like one of its
        leaves = {field.rpartition(".")[2]: field for field in reversed(known)}
        near = leaves.get(close_to(leaf, leaves) or "")
    if near is None:
        return f"{typed}: unknown field (--help lists all)"
    if near in HABITS and near not in known and near not in sections:
        return f"{typed}: unknown field; {HABITS[near]}"
    return f"{typed}: unknown field; did you mean {options.get(near, near)}?"


def unknown_name(field: str, value: object, names: Iterable[str]) -> str:
    """What to say of a value that is none of the registered names."""
    near = close_to(value, names)
    return f"{field}: {value!r} is unknown; {f'did you mean {near}? One of' if near else 'one of'} {', '.join(names)}"


def close_to(name: object, names: Iterable[str]) -> str | None:
    """The name that somebody may have meant."""
    found = difflib.get_close_matches(str(name).lower(), list(names), n=1, cutoff=0.7)
    return found[0] if found else None


def of_a_value(name: str, item: Mapping[str, Any]) -> str:
    """What to add to a line on a field whose value is not valid, as pydantic reports it in `item`; "" for nothing."""
    value, kind = item["input"], item["type"]
    if kind == "literal_error":
        choices = re.findall(r"'([^']*)'", item["ctx"]["expected"])
        words = {True: ("on", "yes", "true"), False: ("off", "no", "false")}.get(value, ()) if value in (0, 1) else ()
        if word := next((word for word in words if word in choices), None):
            return f"; put {word!r} into quotes, as YAML takes it for a switch"
        near = close_to(value, choices)
        return f"; did you mean {near}?" if near else ""
    if kind == "less_than_equal" and name.rpartition(".")[2] in ("threshold", "floor"):
        percent = float(value)
        return "; it is a probability" + (f", as {percent / 100:g}" if percent <= 100 else ", as 0.95")
    return ""


def without_recipe(data: str, own: Mapping[str, Any], recipes: Iterable[str]) -> list[str]:
    """What a run on a data set without a recipe leaves open: nobody is given a long run of a large network unasked."""
    model = own.get("model")
    named = isinstance(model, Mapping) and "name" in model
    others = f"or start from another data set's with --recipe NAME, one of {', '.join(recipes)}"
    missing = {} if "steps" in own else {"steps": "--steps N"}
    missing |= {} if named else {"model.name": "--model NAME"}
    return [f"{field}: needed, as {data} has no recipe; give {option}, {others}" for field, option in missing.items()]
