"""What an experiment gives back: a claim with its figure, interval, null and computed verdict.

The rules stand in docs/verdicts.md. This module loads no torch, so that the report can import it.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

Verdict = Literal["holds", "does not hold", "cannot tell"]
ALPHA = 0.01
"""Level of a claim's p-value against its null, after Benjamini-Hochberg over the claims of a study."""


@dataclass(frozen=True, slots=True)
class Null:
    """What the same statistic gives where there is nothing to find."""

    kind: str
    """How the null was made, e.g. `labels shuffled within topics`."""
    draws: int
    mean: float
    upper: float
    """99th percentile of the draws."""
    p: float
    """Share of draws at least as extreme as the estimate, (1 + k) / (1 + draws)."""
    corrected_p: float | None = None
    """After Benjamini-Hochberg over the claims of the study."""


@dataclass(frozen=True, slots=True)
class Chart:
    """A Vega-Lite chart of a finding."""

    name: str
    """File name of its PNG."""
    caption: str
    spec: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Finding:
    """One claim of the study, measured."""

    id: str
    claim: str
    statistic: str
    """What `estimate` is, with its unit or chance level."""
    estimate: float
    interval: tuple[float, float] | None
    """95 % confidence interval."""
    null: Null | None
    published: str | None
    """The study's figure for its model; None where it gives none."""
    worthwhile: float
    """The smallest estimate that would count as the claim holding."""
    how_to_read: str
    """Two sentences for the report."""
    baselines: dict[str, float] = field(default_factory=dict)
    """The same statistic from what could explain it away, shown beside."""
    floor: float | None = None
    """The same statistic from what could give it without the vectors: mostly the model's own word embeddings; a claim about
    the model's layers has to rise above it."""
    experiment: str = ""
    """The experiment it comes from, as `foreshock study --only` calls it."""
    notes: tuple[str, ...] = ()
    table: tuple[dict[str, Any], ...] = ()
    charts: tuple[Chart, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """Computed from the interval, the null and what would be worthwhile; never typed."""
        return judge(self.estimate, self.interval, self.null, self.worthwhile, self.floor)

    def to_json(self) -> dict[str, Any]:
        """For findings.json: everything but the charts."""
        shown = asdict(replace(self, charts=()))
        del shown["charts"]
        return {**shown, "verdict": self.verdict}


def judge(
    estimate: float,
    interval: tuple[float, float] | None,
    null: Null | None,
    worthwhile: float,
    floor: float | None = None,
) -> Verdict:
    """Three values, for a claim that its statistic is large.

    *holds*: the estimate reaches what is worthwhile, its interval lies above the null's mean and above the
    floor (what word embeddings or another baseline give alone), and its corrected p is at most `ALPHA`. *does not hold*: the
    interval lies below what is worthwhile, or the estimate is not above the null's mean. *cannot tell*:
    everything else, and always without interval or null, or where a number is missing.
    """
    if interval is None or null is None:
        return "cannot tell"
    if not all(math.isfinite(v) for v in (estimate, *interval, null.mean, floor or 0.0)):
        return "cannot tell"
    p = null.p if null.corrected_p is None else null.corrected_p
    least = null.mean if floor is None else max(null.mean, floor)
    if estimate >= worthwhile and interval[0] > least and p <= ALPHA:
        return "holds"
    if interval[1] < worthwhile or estimate <= null.mean:
        return "does not hold"
    return "cannot tell"


def corrected(findings: list[Finding]) -> list[Finding]:
    """The findings with their p-values corrected together (Benjamini-Hochberg)."""
    from scipy.stats import false_discovery_control

    nulls = [finding.null for finding in findings if finding.null]
    if not nulls:
        return findings
    fixed = iter(false_discovery_control([null.p for null in nulls]))
    return [replace(f, null=replace(f.null, corrected_p=float(next(fixed)))) if f.null else f for f in findings]
