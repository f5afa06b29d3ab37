"""How many of the labels that are handed out are right: from the audits of the newest network, and nothing else."""

from typing import Any

import numpy as np

from semisonic.curation import audit
from semisonic.daily import auditing
from semisonic.daily.audit_words import days_text
from semisonic.daily.report.known import Known
from semisonic.daily.report.model import Accuracy, Estimate, Part
from semisonic.daily.report.people import of
from semisonic.daily.store import LOOKED

Precision = dict[int, tuple[int, int, Estimate | None]]
"""By class: looks of the audit, those at right labels, and the share of right ones."""


def audited_runs(known: Known) -> dict[str, Estimate]:
    """By run, what its audits say of its labels, as it gave them."""
    found = {}
    for run in dict.fromkeys(row.run for row in known.store.audits()):
        if (whole := _whole(auditing.looks_of(known.store, run, known.current))).n:
            found[run] = of(whole.estimate())
    return found


def day_accuracy(known: Known) -> tuple[Accuracy, Precision, float | None]:
    """(what is known of the newest network's labels, its precision by class, half width once the audit is done)"""
    run = known.run
    looks = auditing.looks_of(known.store, run, known.current) if run is not None else []
    days = sorted({day for one in looks for day in one.row.details["days"]}) or [_day_of(known)]
    here = np.isin(known.current.day, days)
    fields: dict[str, Any] = {
        "run": run, "of": days_text(days), "by_people": int((known.by_person & here).sum()),
        "by_network": int((known.by_network & here).sum()), "drawn": sum(len(one.state) for one in looks),
        "waiting": int(sum((~np.isin(one.state, sorted(LOOKED))).sum() for one in looks)),
        "confidence": _confidence(known, here),
    }  # fmt: skip
    fields["labels"] = fields["by_people"] + fields["by_network"]
    result = auditing.estimate(known.store, run)
    if result is None:
        return Accuracy(**fields), {}, None
    whole = _whole(looks)
    shares = {
        "handed_out": result.handed_out,
        "auto_labels": result.labels,
        "sure": result.sure,
        "doubtful": result.doubtful,
    }
    fields |= {name: None if share is None else of(share) for name, share in shares.items()}
    fields |= {
        "said": result.words, "warning": result.warning, "confidence": result.confidence, "unsure": result.unsure,
        "blind": result.blind, "checked_by": list(result.people),
        "checked_on": [day.isoformat() for day in (result.first, result.last) if day is not None],
        "parts": _parts(whole), "more_for_two_points": result.more,
    }  # fmt: skip
    gain = audit.expected_half_width(whole, fields["waiting"]) if fields["waiting"] else None
    precision = {one.label: (one.n, one.right, _precision(one)) for one in result.classes}
    return Accuracy(**fields), precision, gain


def _day_of(known: Known) -> int:
    """That of the newest network; without one, the present day."""
    return known.day if known.run is None else known.days_of_runs.get(known.run, known.day)


def _whole(looks: list[auditing.Looked]) -> audit.Audit:
    """All audits of one run, of which there may be none."""
    if looks:
        return audit.add_up([one.audit() for one in looks])
    nothing = np.zeros(0, np.int64)
    return audit.Audit("", "", "simple", nothing, nothing, nothing, nothing)


def _confidence(known: Known, here: np.ndarray) -> float | None:
    """Mean over the network's labels that are handed out."""
    own = np.isin(known.scores.image, known.current.image[known.by_network & here])
    return float(known.scores.confidence[own].mean()) if own.any() else None


def _parts(whole: audit.Audit) -> list[Part]:
    """The strata, the least sure first."""
    found = []
    for at in np.argsort(whole.means_S, kind="stable"):
        size, looked, right = (int(column[at]) for column in (whole.sizes_S, whole.looked_S, whole.right_S))
        share = of(audit.simple(right, looked, size)) if looked else None
        found.append(Part(size=size, certainty=float(whole.means_S[at]), right=right, accuracy=share))
    return found


def _precision(found: audit.ClassPrecision) -> Estimate | None:
    if found.value is None or found.low is None or found.high is None:
        return None
    return Estimate(
        value=found.value, low=found.low, high=found.high, n=found.n, population=found.n, method="simple"
    )  # fmt: skip
