"""`daily PROJECT next`: does what needs no person, one step after the other, then says what a person must do."""

import argparse
from importlib import import_module

from semisonic.daily.command import parse_options
from semisonic.daily.facts import gather
from semisonic.daily.project import Project
from semisonic.daily.steps import next_step
from semisonic.daily.subcommands import SUBCOMMANDS
from semisonic.schema import ExitCode, UserError
from semisonic.text import printable


def run(project: Project, args: argparse.Namespace) -> int:
    done: tuple[str, ...] = ()
    while True:
        step = next_step(gather(project))
        what = f"{' '.join(step.do)}: {step.say}" if step.do else step.say
        print(printable(f"Next: {what}" if args.dry or not step.do else what), flush=True)
        if args.dry or not step.do:
            return ExitCode.OK
        if step.do == done:
            raise UserError(f"next: {done[0]} has ended, and is to be done again; see what it said above")
        name, *options = done = step.do
        module, _, function = SUBCOMMANDS[name].module.partition(":")
        code: int = getattr(import_module(module), function or "run")(project, parse_options(name, options))
        if code != ExitCode.OK:
            return code
