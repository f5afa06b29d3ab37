"""Serving the page from the command line, until somebody ends it."""

import errno
import socket
import tempfile
import webbrowser
from pathlib import Path

from semisonic.checkpoint.atomic_files import write_text
from semisonic.daily.page.server import HOST, PageServer
from semisonic.daily.project import Project
from semisonic.pages.rendering import render
from semisonic.schema import ExitCode, UserError
from semisonic.text import name_of


def serve(project: Project, port: int, who: str, open_browser: bool = False) -> int:
    """Prints the page's address and serves it until Ctrl-C, which is `KeyboardInterrupt` here as everywhere.

    who: is reviewing unless the browser names somebody else. Raises `UserError` where the port cannot be had.
    """
    try:
        server = PageServer(project, port, who)
    except OSError as error:
        raise UserError(f"--port: {port} cannot be used: {_reason(error, port)}") from error
    with server, tempfile.TemporaryDirectory(prefix="semisonic-") as folder:
        print(f"The page of {name_of(project.folder)}, for a browser on this machine; Ctrl-C ends it:")
        print(f"  {server.url}", flush=True)
        if open_browser:
            _open(server.url, Path(folder))
        server.serve_forever(poll_interval=0.2)
    return ExitCode.OK


def _reason(error: OSError, port: int) -> str:
    if error.errno != errno.EADDRINUSE:
        return f"{error.strerror or error}; give another, or 0 for any that is free"
    free = next((other for other in range(port + 1, min(port + 20, 65536)) if _is_free(other)), 0)
    return f"something listens there already, perhaps this page; --port {free} is free"


def _is_free(port: int) -> bool:
    with socket.socket() as trial:
        try:
            trial.bind((HOST, port))
        except OSError:
            return False
    return True


def _open(url: str, folder: Path) -> None:
    """Opens a browser by way of a file of this user's: a command line, which holds the token, others could read."""
    file = folder / "page.html"
    write_text(file, render("daily/page/open.html.j2", url=url))
    webbrowser.open(file.as_uri())
