"""How a plug-in adds to what the engine knows, without a change of the engine: `from semisonic import register`.

What is registered is listed by --list, named in messages, and can be used wherever what is built in can.

    from semisonic import register

    register.algorithm("my-match", MyMatch)

Every function raises ValueError for a name that is taken, or that no command line could give.
"""

from collections.abc import Callable, Sequence

from torch import nn

from semisonic.addons.registry import ADD_ONS
from semisonic.algorithms.add_on import AddOn
from semisonic.algorithms.base import Algorithm
from semisonic.algorithms.registry import ALGORITHMS
from semisonic.contract import Preprocessing
from semisonic.data.sets.base import DataConfig, DataSet
from semisonic.data.sets.registry import register_data_set
from semisonic.data.views.registry import Builder, register_view
from semisonic.models.networks import register_network
from semisonic.recipes import Recipe, register_recipe

__all__ = ["add_on", "algorithm", "data_set", "network", "recipe", "view"]


def algorithm(name: str, kind: type[Algorithm]) -> None:
    """A method, for `--algorithm NAME`; its settings on each data set are its own `paper_settings`.

    `kind.Config` has the field `name: Literal[NAME] = NAME`, and the docstring of the file is its line in --list.
    """
    if not (isinstance(kind, type) and issubclass(kind, Algorithm)):
        raise ValueError(f"algorithm {name!r}: {kind!r} is no subclass of semisonic.algorithms.base.Algorithm")
    field = kind.Config.model_fields.get("name")
    if field is None or field.default != name:
        raise ValueError(f"algorithm {name!r}: its Config needs the field  name: Literal[{name!r}] = {name!r}")
    ALGORITHMS.register(name, kind)


def add_on(name: str, kind: type[AddOn]) -> None:
    """What joins any algorithm, such as a further loss; `--addons.NAME.FIELD` are the fields of its `Config`.

    The name is a section of the configuration: it has _ in place of -.
    """
    if not name.isidentifier():
        raise ValueError(f"add-on {name!r}: a name is that of a section, such as {name.replace('-', '_')!r}")
    ADD_ONS.register(name, kind)


def network(
    name: str,
    build: Callable[..., nn.Module],
    summary: str,
    blocks: tuple[type[nn.Module], ...] = (),
    blocks_draw: bool = False,
    preprocessing: Preprocessing | None = None,
) -> None:
    """A network, for `--model NAME`.

    build: takes (classes), or (cfg, classes, image size in pixels); a network has `features`, `head` and `feature_dim`,
    as semisonic.models.networks describes them. summary: one line. blocks: classes of its repeated blocks, which
    --recompute and --compile blocks work on; blocks_draw: whether these draw random numbers in training. preprocessing:
    where it comes with weights, what these expect of images.
    """
    register_network(name, build, summary, blocks, blocks_draw, preprocessing)


def data_set(
    name: str,
    load: Callable[[DataConfig], DataSet],
    summary: str,
    *,
    problems: Callable[[DataConfig], list[str]] = lambda cfg: [],
    size: int | None = None,
    classes: int | None = None,
    counts: Sequence[int] | None = None,
    recipe: Recipe | None = None,
) -> None:
    """A data set, for `--data NAME`.

    load: reads it. summary: one line. problems: mistakes in the fields of `data` that show without reading images, one
    line each. size: side of its images in pixels, None where the user chooses. classes: their number, and counts:
    labeled images of each, where these are known without reading them. recipe: what a run on it changes of the
    defaults, see `recipe`.
    """
    register_data_set(name, load, summary, problems, size, classes, counts)
    if recipe is not None:
        register_recipe(name, recipe)


def view(
    name: str, build: Builder, summary: str, form: str | None = None, arguments: int = 0, example: str | None = None
) -> None:
    """A view, for fields such as `--algorithm.strong NAME`.

    build: (geometry, numbers in brackets, equalize, operations) -> `semisonic.data.views.view.View`; it raises
    ValueError where the numbers are wrong. summary: one line. form: how it is written where it takes numbers, such as
    "blur(STD)"; arguments: how many at most; example: a spec for the grids of views.
    """
    register_view(name, build, summary, form, arguments, example)


def recipe(name: str, function: Recipe) -> None:
    """A recipe, for `--recipe NAME`, or the default of a data set of that name.

    function: returns the fields that it changes of a run's defaults, in sections; it says at least `steps`,
    `data.name`, `algorithm.name` and `batch.labeled`. The first line of its docstring is its line in --list.
    """
    register_recipe(name, function)
