"""The page from the command line: its address, a port that is taken, and a browser that is opened."""

import os
import socket
from pathlib import Path

import pytest

from semisonic.cli import dispatch
from semisonic.daily.page import serving
from semisonic.daily.page.server import PageServer
from semisonic.schema import ExitCode
from tests.support.labeling_page import new_project


def test_a_port_that_is_taken_is_told_with_one_that_is_free(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    made = new_project(tmp_path, 0)
    with PageServer(made, 0) as server:
        code = dispatch(["daily", str(made.folder), "page", "--port", str(server.server_port)])
    out, err = capsys.readouterr()
    assert code == ExitCode.USER and out == ""
    assert err.startswith(f"error: --port: {server.server_port} cannot be used: something listens there already")
    assert "Traceback" not in err and "--port " in err.split("page; ")[1]


def test_a_port_that_may_not_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refused(*args: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(PageServer, "server_bind", refused)
    with pytest.raises(serving.UserError, match="--port: 80 cannot be used: Permission denied; give another"):
        serving.serve(new_project(tmp_path, 0), 80, "ann")


def test_a_browser_is_led_to_the_page_without_a_token_on_its_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    opened = []

    def opening(address: str) -> None:
        file = Path(address.removeprefix("file://"))
        opened.append((address, file.read_text(), os.stat(file.parent).st_mode & 0o777))

    def serve_forever(server: PageServer, poll_interval: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("webbrowser.open", opening)
    monkeypatch.setattr(PageServer, "serve_forever", serve_forever)
    made = new_project(tmp_path, 0)
    assert dispatch(["daily", str(made.folder), "page", "--port", "0", "--open"]) == ExitCode.INTERRUPTED
    url = capsys.readouterr().out.split()[-1]
    ((address, page, mode),) = opened
    assert url.startswith("http://127.0.0.1:") and url in page and mode == 0o700
    assert url.split("token=")[1] not in address and not Path(address.removeprefix("file://")).exists()


def test_when_the_page_has_ended_its_port_is_free(tmp_path: Path):
    with PageServer(new_project(tmp_path, 0), 0) as server:
        port = server.server_port
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
        pass
