"""What the weights that a run starts from expect of its images, settled before anything reads these."""

from semisonic.checkpoint import format as checkpoints
from semisonic.config.migrations import field_value, read_saved
from semisonic.config.run_config import RunConfig
from semisonic.contract import Preprocessing
from semisonic.data.sets.base import DataConfig, ExpectedConfig
from semisonic.models.preprocessing import preprocessing_of
from semisonic.models.wrapped import GIVEN
from semisonic.schema import UserError

FORCED = ("own", "imagenet")
"""Values of `data.normalize` that no weights change."""


def expected_by(cfg: RunConfig) -> Preprocessing | None:
    """What the weights that a run starts from expect; None where there are none, or these do not say it.

    `init` counts before the network's own weights, which it takes the place of. Raises `UserError` where it cannot be
    read.
    """
    if cfg.init is None:
        return preprocessing_of(cfg.model)
    if not cfg.init.exists():
        return None  # which is told where the file is needed
    state = checkpoints.load_state(checkpoints.find(cfg.init))
    shown = state["preprocess"]
    return Preprocessing(
        mean=tuple(state["mean"]), std=tuple(state["std"]), source=shown.get("shown_for") or f"init, {cfg.init}",
        size=state["image_size"], interpolation=shown.get("interpolation", "bilinear"), crop=shown.get("crop"),
    )  # fmt: skip


def with_expected(cfg: RunConfig, found: Preprocessing | None = None) -> RunConfig:
    """The configuration with what its weights expect settled in `data.expected`, as `data.normalize` allows.

    found: what a network expects that was given in Python. Raises `UserError` as `expected_by` does.
    """
    if cfg.data.normalize in FORCED:
        return _with(cfg, ExpectedConfig())
    if found is None and cfg.init is None and cfg.model.name == GIVEN:
        return cfg  # who gives the network settles it
    found = found if found is not None and cfg.init is None else expected_by(cfg)
    if found is None:
        return _with(cfg, ExpectedConfig())
    return _with(
        cfg,
        ExpectedConfig(
            mean=found.mean, std=found.std, interpolation=found.interpolation, crop=found.crop, source=found.source
        ),
    )


def _with(cfg: RunConfig, expected: ExpectedConfig) -> RunConfig:
    return cfg if cfg.data.expected == expected else with_data(cfg, expected=expected)


def with_data(cfg: RunConfig, **fields: object) -> RunConfig:
    """A copy with other fields of `data`."""
    return cfg.model_copy(update={"data": cfg.data.model_copy(update=fields)})


def sized(cfg: RunConfig, of_recipe: str | None, resume: bool) -> RunConfig:
    """The configuration where the user gave no `data.size`: for `folder` that of the images which the weights were
    trained on, if they are not those of the network `of_recipe`, for which the recipe has chosen one. resume: the size
    of the run in its folder, if there is one."""
    if cfg.data.name != "folder":
        return cfg
    file = cfg.run_folder / "config.yaml"
    if resume and file.is_file():
        size = field_value(read_saved(cfg.run_folder).fields, "data.size")
        return with_data(cfg, size=size) if isinstance(size, int) else cfg
    if cfg.init is None and cfg.model.name == of_recipe:
        return cfg
    try:
        found = expected_by(cfg)
    except UserError:
        return cfg  # `expectation_problems` tells it
    return cfg if found is None or found.size is None else with_data(cfg, size=found.size)


def started_by_init(cfg: RunConfig) -> RunConfig:
    """The configuration without `model.pretrained`, as a recipe has it, where `init` takes the place of those weights:
    nothing is fetched for them."""
    if cfg.init is None or not cfg.model.pretrained:
        return cfg
    return cfg.model_copy(update={"model": cfg.model.model_copy(update={"pretrained": False})})


def expectation_problems(cfg: RunConfig) -> list[str]:
    """What is wrong with `data.normalize` for the weights that the run starts from."""
    if cfg.data.normalize in FORCED or cfg.data.expected != DataConfig().expected:
        return []
    try:
        found = expected_by(cfg)
    except UserError as error:
        return [f"init: {line}" for line in error.messages]
    unknown = cfg.model.name == GIVEN or (cfg.init is not None and not cfg.init.exists())
    if cfg.data.normalize != "weights" or found is not None or unknown:
        return []
    why = "starts from random weights" if not starts_from_weights(cfg) else "starts from weights that do not say theirs"
    return [f"data.normalize: weights, but the run {why}; use own or imagenet"]


def starts_from_weights(cfg: RunConfig) -> bool:
    """Whether a run starts from weights that another training made."""
    return cfg.init is not None or cfg.model.weights is not None or bool(getattr(cfg.model, "pretrained", False))
