"""Compiled code is loaded from folders that nobody else can write, whoever set them, and whenever torch came."""

import os
import pickle
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from semisonic_kernels import compile_caches
from semisonic_kernels.compile_caches import (
    EXTENSIONS,
    INDUCTOR,
    TRITON,
    UnsafeFolder,
    own_folder,
    private_caches,
    private_extensions,
    unsafe,
)
from tests.support.processes import ROOT


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A home without anything in it, and nothing set."""
    for name in (INDUCTOR, TRITON, EXTENSIONS, "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, "")  # which the test may change, and which is restored
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(compile_caches, "_left", None)
    return tmp_path / "home"


def mode(folder: Path) -> int:
    return stat.S_IMODE(folder.stat().st_mode)


def test_by_default_a_folder_of_this_user_alone(home: Path):
    private_caches(compiles=False)
    own = home / ".cache" / "semisonic" / "compiled"
    assert (os.environ[INDUCTOR], os.environ[TRITON]) == (f"{own}/inductor", f"{own}/inductor/triton")
    assert mode(own) == 0o700 and mode(home / ".cache") == 0o700


def test_below_xdg_cache_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, home: Path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert own_folder() == tmp_path / "cache" / "semisonic" / "compiled"
    assert not home.exists()


def test_what_the_user_has_set_stays(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, home: Path):
    monkeypatch.setenv(INDUCTOR, str(tmp_path / "mine"))
    private_caches(compiles=False)
    assert (os.environ[INDUCTOR], os.environ[TRITON]) == (f"{tmp_path}/mine", f"{tmp_path}/mine/triton")
    monkeypatch.setenv(TRITON, str(tmp_path / "kernels"))
    private_caches(compiles=False)
    assert (os.environ[INDUCTOR], os.environ[TRITON]) == (f"{tmp_path}/mine", f"{tmp_path}/kernels")
    assert not home.exists()


def test_what_torch_has_set_by_itself_is_not_the_user_s(monkeypatch: pytest.MonkeyPatch, home: Path):
    from torch._inductor.runtime import cache_dir_utils

    monkeypatch.undo()  # torch's own function, whatever was compiled in this process
    default = str(compile_caches._torch_default())
    if "compiled" not in cache_dir_utils.default_cache_dir():
        assert default == os.path.abspath(cache_dir_utils.default_cache_dir())
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv(INDUCTOR, default)
    monkeypatch.setenv(TRITON, f"{default}/triton/0")
    private_caches(compiles=False)
    assert os.environ[INDUCTOR].startswith(f"{home}/") and os.environ[TRITON].startswith(f"{home}/")


def chmod(mode: int) -> Callable[[Path], str]:
    """Changes the folder itself."""

    def change(folder: Path) -> str:
        folder.chmod(mode)
        instead = f"make a folder of your own in {folder}" if mode & stat.S_ISVTX else f"chmod go-w {folder}"
        return f"others can write {folder}, and so change what would run here; {instead}"

    return change


def open_above(folder: Path) -> str:
    folder.parent.chmod(0o777)
    return f"others can write {folder.parent}, "


def open_above_a_link(folder: Path) -> str:
    folder.rmdir()
    (folder.parent / "open" / "real").mkdir(parents=True)
    (folder.parent / "open").chmod(0o777)
    folder.symlink_to("open/../open/real")
    return f"others can write {folder.parent / 'open'}, "


def group_of(monkeypatch: pytest.MonkeyPatch, *members: str) -> None:
    """This user is called me, and so is their group, which has these members."""
    user = SimpleNamespace(pw_gid=os.getegid(), pw_name="me")
    group = SimpleNamespace(gr_name="me", gr_mem=list(members))
    monkeypatch.setattr(compile_caches, "pwd", SimpleNamespace(getpwuid=lambda number: user))
    monkeypatch.setattr(compile_caches, "grp", SimpleNamespace(getgrgid=lambda number: group))


def test_a_folder_made_under_umask_002_is_its_user_s_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """As torch has made it, where each user has a group of their own."""
    folder = tmp_path / "cache"
    folder.mkdir()
    folder.chmod(0o775)
    group_of(monkeypatch)
    monkeypatch.setenv(INDUCTOR, str(folder))
    private_caches(compiles=False)
    assert os.environ[INDUCTOR] == str(folder)
    group_of(monkeypatch, "another")
    assert unsafe(folder)


@pytest.mark.parametrize("spoil", [chmod(0o777), chmod(0o775), chmod(0o1777), open_above, open_above_a_link])
def test_a_folder_that_others_can_write_is_refused(
    spoil: Callable[[Path], str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    folder = tmp_path / "above" / "cache"
    folder.mkdir(parents=True)
    group_of(monkeypatch, "me", "another")
    monkeypatch.setenv(INDUCTOR, str(folder))
    private_caches(compiles=False)
    problem = spoil(folder)
    for name in (INDUCTOR, TRITON):
        monkeypatch.setenv(name, str(folder))
        with pytest.raises(UnsafeFolder) as refused:
            private_caches(compiles=False)
        assert str(refused.value).startswith(f"{INDUCTOR}: {problem}")
        assert str(refused.value).endswith(f", or set {INDUCTOR} to another folder, or not at all")


def test_sticky_folders_above_and_links_of_one_s_own_are_safe(tmp_path: Path):
    folder = tmp_path / "above" / "cache"
    folder.mkdir(parents=True)
    folder.parent.chmod(0o1777)
    (tmp_path / "link").symlink_to("above")
    assert unsafe(folder) is None and unsafe(tmp_path / "link" / "cache") is None
    assert unsafe(tmp_path / "nothing" / "there") is None
    assert "others can write /tmp" in (unsafe(Path("/tmp")) or "")


def test_a_folder_of_somebody_else_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    monkeypatch.setattr(compile_caches, "_administrators", lambda: {0, os.getuid()})
    assert unsafe(tmp_path) == (
        f"{tmp_path} belongs to {compile_caches._user_name(os.getuid())}, who can change what would run here; chown it"
    )
    assert unsafe(tmp_path / "mine") is None  # whatever is above may be an administrator's
    monkeypatch.setattr(compile_caches, "_administrators", lambda: {0})
    if os.getuid() != 0:
        assert " belongs to " in (unsafe(tmp_path / "mine") or "")


def test_a_default_folder_that_others_can_write_is_refused(home: Path):
    own = own_folder()
    own.chmod(0o777)
    with pytest.raises(
        UnsafeFolder, match=f"^compiled code: others can write {own}, .*, or set {INDUCTOR} and {TRITON}"
    ):
        private_caches(compiles=False)


@pytest.mark.parametrize(
    ("environment", "why"),
    [
        ({}, "neither XDG_CACHE_HOME nor HOME is set"),
        ({"HOME": "file"}, "file/.cache/semisonic/compiled cannot be made (Not a directory); make it"),
        ({"HOME": "open"}, "others can write "),
    ],
)
def test_without_a_home_a_folder_that_goes_with_the_process(environment: dict[str, str], why: str, tmp_path: Path):
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "file").touch()
    script = (
        "import os, stat\n"
        "from semisonic_kernels.compile_caches import *\n"
        "private_caches(compiles=False)\n"
        "private_extensions()\n"
        f"folder = os.path.dirname(os.environ['{INDUCTOR}'])\n"
        f"assert os.environ['{EXTENSIONS}'].startswith(folder) and os.environ['{TRITON}'].startswith(folder)\n"
        "print(folder, oct(stat.S_IMODE(os.stat(folder).st_mode)), flush=True)\n"
        "if os.fork() == 0:\n"
        "    raise SystemExit  # what ends first must not take the folder with it\n"
        "os.wait()\n"
        "assert os.path.isdir(folder)\n"
    )
    kept = {name: value for name, value in os.environ.items() if name not in ("HOME", INDUCTOR, TRITON, EXTENSIONS)}
    kept |= {"TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT / "kernels")} | environment
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=kept, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    folder, permissions = done.stdout.split()
    assert permissions == "0o700" and Path(folder).parent == tmp_path and not Path(folder).exists()
    assert f"compiled code is kept in {folder} until this process ends: " in done.stderr and why in done.stderr


def test_a_folder_for_temporary_files_that_others_can_exchange_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.delenv("HOME")
    tmp_path.chmod(0o777)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(UnsafeFolder, match=f"^temporary files: others can write {tmp_path}, .*, or set TMPDIR"):
        compile_caches._temporary("a test")
    assert list(tmp_path.iterdir()) == []


def test_extensions_stay_where_torch_has_them_unless_others_can_write_there(
    monkeypatch: pytest.MonkeyPatch, home: Path
):
    private_extensions()
    assert EXTENSIONS not in os.environ
    (home / ".cache" / "torch_extensions").chmod(0o777)
    private_extensions()
    assert os.environ[EXTENSIONS].startswith(f"{home}/.cache/semisonic/compiled/extensions/py3")
    monkeypatch.setenv(EXTENSIONS, str(home / ".cache" / "torch_extensions"))
    with pytest.raises(UnsafeFolder, match=f"^{EXTENSIONS}: others can write "):
        private_extensions()


class Planted:
    """Unpickled, it makes a folder."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., None], tuple[str]]:
        return os.mkdir, (str(self.mark),)


def in_a_process(script: str, folder: Path, *args: object, may_fail: bool = False, **environment: str) -> None:
    """Torch's default is below `folder`, and a home is there. may_fail: what was planted is nothing torch can use."""
    kept = {name: value for name, value in os.environ.items() if name not in (INDUCTOR, TRITON)}
    kept |= {"TMPDIR": str(folder), "HOME": str(folder / "home"), "PYTHONPATH": str(ROOT / "kernels")} | environment
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, args)], env=kept, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0 or may_fail, done.stderr


@pytest.mark.slow
def test_a_planted_entry_is_not_executed(tmp_path: Path):
    """One that any compilation reads, by any backend, where jobs have a name; without this module it is executed."""
    mark, entry = tmp_path / "executed", tmp_path / "entry"
    entry.write_bytes(pickle.dumps(Planted(mark)))
    compiled = 'torch.compile(lambda x: x + 1, backend="eager")(torch.ones(2))\n'
    in_a_process(
        "import os, shutil, sys, torch\n"
        "from torch._dynamo import pgo\n"
        "planted = pgo.code_state_path(pgo.get_cache_key())\n"
        "os.makedirs(os.path.dirname(planted))\n"
        "shutil.copy(sys.argv[1], planted)\n" + compiled,
        tmp_path, entry, may_fail=True, TORCH_COMPILE_JOB_ID="job",
    )  # fmt: skip
    assert mark.exists()
    mark.rmdir()
    in_a_process(
        "import os, torch, torch._dynamo.package, torch._inductor.codecache as inductor\n"
        "import torch._inductor.fx_passes.pad_mm\n"
        "from torch._inductor.runtime.caching.memoizers import should_pad_memoizer\n"
        "from semisonic_kernels.compile_caches import private_caches\n"
        f"assert os.path.basename(os.environ['{INDUCTOR}']).startswith('torchinductor_')\n"
        "before = [inductor.CacheBase.get_local_cache_path()]\n"
        "private_caches()\n" + compiled + "home = os.environ['HOME']\n"
        f"assert os.environ['{INDUCTOR}'].startswith(home)\n"
        "assert inductor._HEADER_DIR.startswith(home) and inductor._HEADER_LOCK_DIR.startswith(home)\n"
        "assert inductor.default_cache_dir().startswith(home)\n"
        "assert str(should_pad_memoizer._disk_cache._cache_dir).startswith(home)\n"
        "assert str(inductor.CacheBase.get_local_cache_path()).startswith(home)\n",
        tmp_path, TORCH_COMPILE_JOB_ID="job",
    )  # fmt: skip
    assert not mark.exists()


@pytest.mark.long
def test_no_file_of_the_default_folder_is_read_or_written_by_a_fused_kernel(tmp_path: Path):
    """Graphs of Inductor and AOTAutograd, whose names are sums of what was compiled, and precompiled headers."""
    mark, default = tmp_path / "executed", "torchinductor_somebody"
    script = (
        "import sys, torch\n"
        "from semisonic_kernels import compile_caches, losses\n"
        "if sys.argv[1] == 'plain':\n"
        "    from semisonic_kernels import fuse\n"
        "    fuse.private_caches = lambda: None\n"
        "losses.consistency_loss(torch.randn(8, 5, requires_grad=True), torch.arange(8) % 5).sum().backward()\n"
    )
    in_a_process(script, tmp_path, "plain", USER="somebody", LOGNAME="somebody")
    entries = [path for kind in ("fxgraph", "aotautograd") for path in (tmp_path / default / kind).rglob("*")]
    files = [path for path in entries if path.is_file()]
    assert {path.relative_to(tmp_path / default).parts[0] for path in files} == {"fxgraph", "aotautograd"}
    for path in files:
        path.write_bytes(pickle.dumps(Planted(mark)))
    shown = {path: path.stat().st_mtime_ns for path in (tmp_path / default).rglob("*")}
    in_a_process(script, tmp_path, "private", USER="somebody", LOGNAME="somebody")
    assert not mark.exists()
    assert shown == {path: path.stat().st_mtime_ns for path in (tmp_path / default).rglob("*")}
    in_a_process(script, tmp_path, "plain", may_fail=True, USER="somebody", LOGNAME="somebody")
    assert mark.exists()
