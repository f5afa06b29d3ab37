"""Training from Python: `semisonic.train`. The same configuration, checks and engine as the command line's.

result = semisonic.train("digits", steps=200)
result.classifier(images)
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from semisonic.config.command_line import Invocation, assemble
from semisonic.config.expectations import with_expected
from semisonic.config.keywords import keyword_arguments
from semisonic.config.run_config import RunConfig
from semisonic.data.sets import given as given_images
from semisonic.data.sets.base import DataSet
from semisonic.data.sets.from_python import read_given
from semisonic.data.sets.given import GivenImages, given_data_set
from semisonic.data.sets.manifest import reading_all
from semisonic.data.sets.registry import data_sets, load_data_set
from semisonic.distributed.variables import check_variables
from semisonic.inference.classifier import Classifier, load_classifier
from semisonic.models import wrapped
from semisonic.models.networks import build
from semisonic.models.preprocessing import stated_by
from semisonic.models.wrapped import NetworkFactory, network_fingerprint
from semisonic.recipes import RECIPES
from semisonic.runs.run import Outcome, run
from semisonic.schema import ExitCode, Interrupted, Stopped, UserError, given_path
from semisonic.training.given import Given
from semisonic.training.torch_state import plain_torch

IMAGES = ("images", "test", "classes")
"""Keys of `data={...}` that are no fields of the configuration's section, as `labels` is not where it is an array."""


@dataclass(frozen=True)
class Result:
    """What a run has come to."""

    folder: Path
    """The run's folder, which `semisonic.load` and the commands `evaluate` and `predict` take."""
    metrics: dict[str, Any]
    """The content of summary.json: `test_top1` in percent, None without test images, and others. Empty where
    `max_hours` ended the run early."""
    history: list[dict[str, float]]
    """Every evaluation, in order: `step`, `test/top1`, ..."""
    network: NetworkFactory | None = None
    """What made the network, where it was given."""

    @cached_property
    def classifier(self) -> Classifier:
        """The EMA network of the last checkpoint, in evaluation mode on the CPU: images [N, 3, H, W] -> logits."""
        return load_classifier(self.folder, network=self.network)


@plain_torch()
def train(
    recipe: str | None = None,
    *,
    data: Any = None,
    test: Any = None,
    network: str | NetworkFactory | None = None,
    resume: bool = False,
    extend: bool = False,
    config: str | Path | None = None,
    plugin: str | Path | Sequence[str | Path] = (),
    callback: Callable[[dict[str, Any]], object] | None = None,
    quiet: bool = False,
    verify_data: bool = False,
    **fields: Any,
) -> Result:
    """Trains a semi-supervised image classifier, as `semisonic train` does, and returns what came out.

    recipe: where the fields start from; default: the one named after the data set.
    data: a data set's name; the path of a folder of images; `(images, labels)` with uint8 images [N, H, W, 3] or
        [N, H, W] and integer labels [N], -1 for unlabeled ones; or a map-style data set of (image, label) pairs. A dict
        holds fields of the section `data`, and images under `images` (with their labels there or under `labels`),
        `test` and `classes`: `{"images": (images, labels), "labels": 40, "flip": False}`. Of images that are given so,
        all labels are used unless `labels` says how many.
    test: test images in the same forms; by default `data.test_fraction` of the labeled images of every class; "none":
        train without any.
    network: a network's name, or a function of the number of classes that makes an nn.Module ending in an nn.Linear.
    resume: continue the run in its folder; images and networks that were given must be given again. extend: plan the
        rest of it anew, for another number of steps.
    config: a YAML file of fields. plugin: files of plug-ins. quiet: print nothing. verify_data: read all image files
        again, also those whose size and times are as they were.
    callback: called after each evaluation with its metrics.
    fields: any other field of the configuration: `steps=200, algorithm="flexmatch", optim={"lr": 0.1}, out="runs/a"`.

    What the caller has set in torch (another default type or device, `no_grad`, an autocast) does not reach the run.

    Raises `UserError` for mistakes, one line each, and its kinds for runs that fail, diverge or are stopped by a
    signal; a Ctrl-C, after which the run has written a checkpoint, stays KeyboardInterrupt.
    """
    if recipe is not None and not isinstance(recipe, str):
        raise UserError(f"recipe: a {type(recipe).__name__}; name a recipe, and give images as data=(images, labels)")
    check_variables()
    call = _Call(fields, recipe)
    if callback is not None and not callable(callback):
        call.problems.append(f"callback: {callback!r} cannot be called; give a function of an evaluation's metrics")
    call.take_data(data, test)
    call.take_network(network)
    cfg = call.configuration(given_path("config", config) if config is not None else None, resume, extend, plugin)
    with reading_all(verify_data):
        given = Given(call.data_set(cfg), call.factory, callback, quiet)
    if call.factory is not None:
        assert given.data is not None
        cfg = _with_network(cfg, call.factory, given.data, resume)
    try:
        outcome = run(Invocation(cfg, resume, extend, verify_data=verify_data), given)
    except Interrupted:
        raise KeyboardInterrupt from None
    return _result(cfg, outcome, call.factory)


def _result(cfg: RunConfig, outcome: Outcome, factory: NetworkFactory | None) -> Result:
    """What a run gives back; raises what `train` says of one that was stopped."""
    if outcome.reason == "SIGINT":
        raise KeyboardInterrupt
    if outcome.code != ExitCode.OK:
        raise Stopped(f"stopped at step {outcome.step:,} by {outcome.reason}, with a checkpoint; resume=True continues")
    result = Result(cfg.run_folder, outcome.summary or {}, outcome.history, factory)
    if outcome.summary:
        _ = result.classifier  # loaded now: the folder may go, or the run go on
    return result


class _Call:
    """The arguments of a call on their way to a configuration; mistakes are collected, and raised by that."""

    def __init__(self, fields: dict[str, Any], recipe: str | None):
        self.fields, self.recipe = dict(fields), recipe
        self.problems: list[str] = []
        self.under: dict[str, Any] = {}
        """Fields that the caller may say otherwise."""
        self.images: GivenImages | None = None
        self.factory: NetworkFactory | None = None

    def take_data(self, data: Any, test: Any) -> None:
        section, parts = {}, {}
        if isinstance(data, Mapping):
            section = {key: value for key, value in data.items() if key not in IMAGES}
            parts = {key: data[key] for key in IMAGES if key in data}
            data = parts.get("images")
            if data is None and "classes" in parts:
                section["classes"] = parts["classes"]
            if data is not None and not _is_count(section.get("labels")):
                data = (data, section.pop("labels"))
        test = parts.get("test") if test is None else test
        if isinstance(test, str) and test in ("auto", "none"):  # the field's values
            section["test"], test = test, None
        if isinstance(data, str | Path):
            section |= self._named(data, section)
        elif data is not None:
            section |= self._given(data, test, parts.get("classes"), section.get("size"))
        if section.get("name") == "folder" and isinstance(test, str | Path):
            section["test_root"] = test
        elif test is not None and section.get("name") != given_images.GIVEN:
            self.problems.append("test: is for images given in Python, or the path of a folder beside a folder of data")
        if section:
            self.fields["data"] = section

    def _named(self, data: str | Path, section: Mapping[str, Any]) -> dict[str, Any]:
        """The fields of a data set's name, or of a folder."""
        if isinstance(data, str) and (data in data_sets() or not (Path(data).is_dir() or "/" in data)):
            return {"name": data}
        recipe = RECIPES.get(self.recipe or "folder")
        of_recipe = recipe()["data"] if recipe else {}
        if of_recipe.get("name") != "folder" or "labels" not in of_recipe:
            self.under["data"] = {"name": "folder", "labels": None}
        return {"name": "folder", "root": data}

    def _given(self, data: Any, test: Any, classes: Any, size: Any) -> dict[str, Any]:
        """The fields of images."""
        self.under["data"] = {"name": given_images.GIVEN, "labels": None}
        try:
            self.images = read_given(data, test, classes, size if isinstance(size, int) and size > 0 else None)
        except UserError as error:
            self.problems += error.messages
            return {"name": given_images.GIVEN, "fingerprint": "unknown"}
        own = {"name": given_images.GIVEN, "fingerprint": self.images.fingerprint}
        return own if size is not None else own | {"size": self.images.size}

    def take_network(self, network: Any) -> None:
        if network is None:
            return
        model = self.fields.get("model", {})
        model = {"name": model} if isinstance(model, str) else dict(model)
        name = network if isinstance(network, str) else wrapped.GIVEN
        if model.get("name", name) != name:
            self.problems.append(f"network: {name}, but model.name is {model['name']}; give one of them")
        if isinstance(network, nn.Module):
            self.problems.append(
                f"network: a {type(network).__name__} is one network, and a run needs several, drawn anew; give what "
                f"makes it: network=lambda classes: {type(network).__name__}(...)"
            )
        elif not isinstance(network, str) and not callable(network):
            self.problems.append(f"network: {network!r} is neither a network's name nor a function of classes")
        elif not isinstance(network, str):
            self.factory = network
        own = {"name": name} if isinstance(network, str) else {"name": name, "fingerprint": "unknown"}
        self.fields["model"] = {**model, **own}

    def configuration(
        self, config: Path | None, resume: bool, extend: bool, plugin: str | Path | Sequence[str | Path]
    ) -> RunConfig:
        """Raises UserError with every mistake."""
        arguments, problems = keyword_arguments(self.fields, self.recipe, config, resume, extend, plugin)
        return assemble(arguments, [*self.problems, *problems], self.under)

    def data_set(self, cfg: RunConfig) -> DataSet | None:
        """The data set where it is needed now: that of images, or one whose classes a given network must have."""
        if self.images is not None:
            return given_data_set(self.images, cfg.data)
        return load_data_set(cfg.data) if self.factory is not None else None


def _is_count(labels: Any) -> bool:
    return labels is None or isinstance(labels, int | str)


def _with_network(cfg: RunConfig, factory: NetworkFactory, data: DataSet, resume: bool) -> RunConfig:
    """The configuration, by which a run knows the network again, with what its weights expect of images (a run that is
    continued knows that). Raises UserError for a network that does not fit."""
    with torch.random.fork_rng(devices=[]):
        made = build(cfg.model, len(data.classes), data.size, factory)
    model = cfg.model.model_copy(update={"fingerprint": network_fingerprint(made)})
    cfg = cfg.model_copy(update={"model": model})
    stated = None if resume else stated_by(made)
    if stated is None and cfg.data.normalize == "weights" and cfg.init is None and not resume:
        raise UserError("data.normalize: weights, but the network that was given has no pretrained_cfg; use own")
    return cfg if stated is None else with_expected(cfg, stated)
