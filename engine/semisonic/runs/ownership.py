"""Which folders a run owns: its own and its baseline's, from before anything is written to the end of the process."""

from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from semisonic.checkpoint.folder_lock import FolderLock, refuse_if_held
from semisonic.config.run_config import RunConfig
from semisonic.runs.run_folder import check_resumable
from semisonic.schema import UserError


class RunFolders:
    """The locks of a run, which rank 0 holds for all ranks; used as a context that releases them.

    say: is told what a start waits for. The other ranks have none, and find no problem.
    """

    def __init__(self, say: Callable[[str], object] = print):
        self.say = say
        self._locks: dict[Path, FolderLock] = {}
        self.settle: Callable[[], object] = lambda: None
        """Waits for what is still being written into them, such as a checkpoint, before they are free."""

    def __enter__(self) -> "RunFolders":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.settle()
        finally:
            while self._locks:
                self._locks.popitem()[1].release()

    def begin(self, cfg: RunConfig, resume: bool) -> None:
        """Before the first look into a run's folder: owns one that a run is in, and its baseline's. Of another, of
        which nothing may be left where the start is refused, it sees that nobody owns it; `own_new` follows.

        Raises `UserError` where another process owns one, or it cannot be written.
        """
        folder = cfg.run_folder
        if not resume or not (folder / "config.yaml").is_file():
            refuse_if_held(folder)
            return
        self.own(folder)
        if cfg.baseline and (baseline := cfg.supervised_baseline().run_folder).is_dir():
            self.own(baseline)

    def own_new(self, cfg: RunConfig) -> None:
        """Makes and owns the folder of a new run. Raises `UserError` where it is not free any more."""
        self.own(cfg.run_folder)
        check_resumable(cfg, resume=False)  # now nobody can write into it between the look and the first write

    def own(self, folder: Path) -> None:
        """Owns a folder, which is made where there is none; a second time does nothing."""
        if folder in self._locks:
            return
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._locks[folder] = FolderLock(folder, self.say)
        except OSError as error:
            raise UserError(f"out: {folder} cannot be written: {error.strerror}") from error

    @property
    def problem(self) -> str | None:
        """Why nothing may be written any more: a folder was moved, removed or taken over."""
        return next((text for lock in self._locks.values() if (text := lock.problem())), None)

    def check(self) -> None:
        """Raises `UserError` where nothing may be written any more."""
        if text := self.problem:
            raise UserError(text)
