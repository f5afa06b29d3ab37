"""NAME.json: what a study has found, with all that a stored result needs to be understood and made again."""

import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from semisonic.compare.jobs import Job
from semisonic.compare.rows import CONFIDENCE, Estimate
from semisonic.records import schemas
from semisonic.studies.declaration import Study
from semisonic.studies.results import Results, compared, differences, name_of, sentence

FORMAT = 1


def provenance(jobs: Sequence[Job], command: str) -> dict[str, Any]:
    """How, on what and with what the runs were made: of those that have finished."""
    paths = [job.folder / "summary.json" for job in jobs]
    made = [schemas.summary(path) for path in paths if path.is_file()]
    hardware = sorted({str(summary.get("hardware")) for summary in made})
    threads = sorted({summary["cpu_threads"] for summary in made if summary.get("cpu_threads") is not None})
    versions: dict[str, dict[str, None]] = {}
    for summary in made:
        for name, version in summary.get("versions", {}).items():
            versions.setdefault(name, {})[str(version)] = None
    return {
        "command": command,
        "seeds": sorted({job.seed for job in jobs}),
        "hardware": "; ".join(hardware),
        "cpu_threads": threads[0] if len(threads) == 1 else threads,
        "versions": {name: ", ".join(found) for name, found in versions.items()},
        "commit": commit(),
        "time": time.strftime("%Y-%m-%d %H:%M:%S %z"),
    }


def commit(folder: Path = Path(__file__).parent) -> str | None:
    """Commit of the code, with a + where files differ from it; None where it is no part of a repository."""

    def git(*words: str) -> str:
        return subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=True).stdout

    try:
        git("ls-files", "--error-unmatch", "__init__.py")  # an installation may lie in another repository's folder
        return git("describe", "--always", "--dirty=+").strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def figures(name: str, estimate: Estimate | None) -> dict[str, float | None]:
    """A mean and the half width of its interval, as two entries."""
    return {name: None, f"{name}_half_width": None} if estimate is None else {
        name: estimate.mean, f"{name}_half_width": estimate.half,
    }  # fmt: skip


def record(study: Study, found: Results, jobs: Sequence[Job], command: str) -> dict[str, Any]:
    """The content of the file; errors and differences in percent of the test images."""
    cfg = jobs[0].cfg
    against: dict[Any, list[dict[str, Any]]] = {own: [] for own in found}
    for factor in study.factors:
        base = found.get(factor.settings[factor.value])
        for name, estimate in differences(factor, found).items():
            own = factor.settings[name]
            if own in found and base is not None:
                against[own].append({
                    "factor": factor.title, "has": name, "baseline": name_of(base.setting),
                    **figures("difference", estimate), "pairs": estimate.count if estimate else 0,
                })  # fmt: skip
    settings = [
        {
            "name": name_of(own), "entry": own.entry, "network": own.network,
            "differs": own.entry.split(":")[1:], "steps": result.steps, "runs": len(result.errors),
            "errors": {str(seed): error for seed, error in sorted(result.errors.items())},
            **figures("error", result.error), "differences": against[own],
            "seconds": result.mean_seconds, "image_passes": result.passes,
        }
        for own, result in found.items()
    ]  # fmt: skip
    return {
        "format": FORMAT, "study": study.name, "question": study.question, **provenance(jobs, command),
        "confidence": CONFIDENCE, "data": cfg.data.name, "labels": jobs[0].labels, "model": cfg.model.name,
        "steps": cfg.steps if study.even is None else None, "even": study.even, "compared": compared(study, found),
        "factors": [
            {"name": factor.title, "baseline": factor.value, "others": [*factor.others],
             "said": sentence(factor, found), "note": factor.note}
            for factor in study.compared()
        ],
        "notes": [*study.notes], "settings": settings,
    }  # fmt: skip
