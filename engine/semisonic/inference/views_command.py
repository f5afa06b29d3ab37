"""The command `semisonic views`: pictures of augmentations, and of what a run trains on."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from semisonic.config.arguments import Parser, check_folder
from semisonic.plugins import load_plugins
from semisonic.schema import ExitCode, UserError
from semisonic.text import printable

if TYPE_CHECKING:
    from semisonic.config.run_config import RunConfig
    from semisonic.data.sets.base import DataSet
    from semisonic.data.sets.splits import Split

USAGE = """Write pictures of views: below each image stands what was drawn for it.

  semisonic views [--data NAME] [--out FOLDER] [FIELDS]
      of all augmentations and batch kernels, and views.png
  semisonic views RUN [--out FILE]
      RUN/views.png alone, of a run that there is

views.png shows what a run with these fields trains on: the first images of each
stream, in each of its views. In the other pictures a row is an image, and the
first column the image itself."""


def main(argv: Sequence[str]) -> int:
    """The command, from its arguments to its exit code. Raises `UserError`."""
    if argv and not argv[0].startswith("-"):
        return of_run(argv)
    return of_fields(argv)


def of_fields(argv: Sequence[str]) -> int:
    """Pictures of every kind of view and of what a run with these fields would read, in a folder."""
    from semisonic.config.command_line import FLAGS, parse_arguments, resolve
    from semisonic.config.help import show_help

    others = [f"--{flag.replace('_', '-')}" for flag in FLAGS if flag not in ("help", "debug")]
    quick, _ = parse_arguments(argv)
    if quick.help:
        return show_help(USAGE, quick, without=[*others, "--debug"])
    if found := [flag for flag in others if flag in argv]:
        raise UserError(f"{found[0]}: is for semisonic train")
    cfg = resolve(argv)[1]
    from semisonic.data.sets.registry import load_data_set
    from semisonic.data.views.registry import view_examples
    from semisonic.reporting.kernel_grids import save_changes
    from semisonic.reporting.run_views import FILE, save_run_views
    from semisonic.reporting.view_grids import save_views
    from semisonic.training.build import draw_split

    folder = cfg.out or Path("views")
    check_folder("--out", folder, "pictures", "*.png")
    data = load_data_set(cfg.data)
    split = draw_split(cfg, data)
    specs = dict.fromkeys([*view_examples(), *cfg.views.specs])
    files = [*save_views(cfg, data, list(specs), folder), *save_changes(cfg, data, folder), folder / FILE]
    save_run_views(cfg, data, split, files[-1])
    for file in files:
        print(printable(file))
    return ExitCode.OK


def of_run(argv: Sequence[str]) -> int:
    """What a run that there is trains on, in its folder or in a file of its own."""
    parser = Parser("semisonic views", allow_abbrev=False, description="Writes what a run trains on, as a picture.")
    add = parser.add_argument
    add("run", type=Path, metavar="RUN", help="a run's folder")
    add("--out", type=Path, metavar="FILE", help="a .png (default: RUN/views.png)")
    add("--root", type=Path, metavar="FOLDER", help="where the data set lies now")
    add("--plugin", action="append", default=[], metavar="FILE", help="that the run was trained with")
    args = parser.parse_args([word for word in argv if word != "--debug"])
    if not (args.run / "config.yaml").is_file():
        raise UserError(f"{printable(args.run)}: is no run's folder; it has no config.yaml")
    if args.out is not None and args.out.suffix != ".png":
        raise UserError(f"--out {printable(args.out)}: name a file that ends in .png")
    load_plugins(args.plugin)
    from semisonic.inference.evaluate import Places, configuration_of, default_device, images_of
    from semisonic.reporting.run_views import FILE, save_run_views

    places = Places(root=args.root)
    cfg = configuration_of(args.run, places)
    if default_device().type == "cpu":
        cfg = cfg.model_copy(update={"device": "cpu"})
    data = images_of(cfg, places)
    file = args.out or args.run / FILE
    save_run_views(cfg, data, split_of(args.run, cfg, data), file)
    print(printable(file))
    return ExitCode.OK


def split_of(run: Path, cfg: "RunConfig", data: "DataSet") -> "Split":
    """The split that a run has written, or that it would draw. Raises `UserError` where its images are others by now:
    the split's numbers would mean others."""
    from semisonic.data.sets.fingerprint import POOL, TABLE, data_problem
    from semisonic.data.sets.splits import load_split, split_data
    from semisonic.training.build import draw_split

    file = run / "split.npz"
    if not file.exists():
        return draw_split(cfg, data)
    known = split_data(file)
    if known is not None and (problem := data_problem(known, data, run / TABLE, f"the run in {run}", POOL)):
        raise UserError(f"{problem}; --root says where they are")
    return load_split(file, data.train.labels)
