"""`semisonic daily PROJECT page`: one local web page, on which people label and review."""

from argparse import Namespace

from semisonic.daily.project import Project


def run(project: Project, args: Namespace) -> int:
    """Serves the page until Ctrl-C. Raises `UserError` where the port cannot be had."""
    from semisonic.daily.page.serving import serve

    return serve(project, args.port, args.who, args.open)
