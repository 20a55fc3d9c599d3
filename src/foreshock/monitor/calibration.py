"""Calibration: thresholds with a stated false-alarm rate, from benign conversations.

**The guarantee.** Let the n calibration conversations and one more benign conversation be exchangeable: drawn alike, in
any order. Then the probability that the further one raises any alarm, from any of the m rules, at any of its tokens, is
at most α. The probability is over both the calibration conversations and the further one. For the thresholds of
one given calibration the rate is itself random around its bound: over further conversations it follows, a rule, a
Beta(n + 1 − k, k) distribution, so it may lie above α; with more conversations it lies closer.

**How.** A rule's statistic of a conversation is the largest value that its running statistic takes there, so that an
alarm at some token and a statistic above the threshold are one event, however long the conversation is. A rule's
threshold is the k-th smallest of its n statistics, k = ⌈(n + 1)(1 − α/m)⌉; a rule fires strictly above it. This is
split-conformal prediction (Vovk et al. 2005; Lei et al. 2018) with Bonferroni over the rules, and needs no assumption
on how scores are distributed.

What rules are made from has to stay apart from what they are calibrated on: `calibrate` measures the mean and spread
of scores on a share of the conversations, drawn by a seed, and takes the thresholds from the rest.
"""

from __future__ import annotations

import hashlib
import json
import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from foreshock.errors import CalibrationError
from foreshock.files import write_text
from foreshock.model import LanguageModel
from foreshock.monitor.rules import NOTHING, Change, Detector, Extreme, Level, Rule, counts, peak
from foreshock.monitor.scores import Score
from foreshock.readings import Readings
from foreshock.vectors import EmotionVectors

FORMAT = 1
"""Version of the file format. A file of a newer one is refused."""
FITTING = 0.2
"""Share of the benign conversations that scores are standardised on."""


def needed(alpha: float, rules: int) -> int:
    """The fewest conversations that give each of so many rules a threshold for a false-alarm rate of `alpha`."""
    return math.ceil(rules / Fraction(str(alpha))) - 1


def threshold(maxima: Sequence[float], alpha: float, rules: int) -> float:
    """The k-th smallest of n statistics, k = ⌈(n + 1)(1 − alpha / rules)⌉.

    Raises:
        CalibrationError: k is beyond n; says how many conversations are needed.
    """
    n = len(maxima)
    # In exact fractions: one rounding error at a whole number would shift k.
    k = n + 1 - math.floor((n + 1) * Fraction(str(alpha)) / rules)
    if k > n:
        raise CalibrationError(
            f"{n} calibration conversations are too few for {rules} rule{'s' * (rules > 1)} and a false-alarm rate "
            f"of {alpha:g}; at least {needed(alpha, rules)} are needed."
        )
    return sorted(maxima)[k - 1]


@dataclass(frozen=True)
class Calibration:
    """Rules with what benign conversations made of them. One JSON file."""

    rules: tuple[Rule, ...]
    maxima: tuple[tuple[float, ...], ...]
    """For each rule the statistics of the n calibration conversations, in ascending order."""
    means: Float[np.ndarray, "conversation rule"]
    """Each calibration conversation's mean scores, which live traffic is compared with (see `drift`)."""
    alpha: float
    """Highest probability that a benign conversation raises any alarm."""
    roles: tuple[str, ...] | None
    """Whose words are looked at; None: everyone's."""
    made_on: Mapping[str, Any]
    """Model, vectors, layer and chat template, without which the thresholds mean nothing."""

    @property
    def thresholds(self) -> tuple[float, ...]:
        """Of each rule; it fires above."""
        return tuple(threshold(own, self.alpha, len(self.rules)) for own in self.maxima)

    @property
    def layer(self) -> int:
        """The layer that readings are taken at."""
        return int(self.made_on["layer"])

    def p_value(self, rule: int, statistic: float) -> float:
        """Probability that an exchangeable benign conversation reaches `statistic`, corrected for all rules.

        (1 + statistics at least as large) / (n + 1), times the number of rules; a rule fires just where it is ≤ alpha.
        """
        own = self.maxima[rule]
        reached = len(own) - bisect_left(own, statistic)
        return min(1.0, len(self.rules) * (1 + reached) / (len(own) + 1))

    def check(self, model: LanguageModel, vectors: EmotionVectors) -> None:
        """Raises `CalibrationError` unless this was calibrated with this model, these vectors and this template."""
        if self.layer not in vectors.layers:
            raise CalibrationError(
                f"These rules were calibrated at layer {self.layer}, which these vectors do not have; calibrate again."
            )
        here = identity(model, vectors, self.layer)
        for what in ("fingerprint", "vectors", "template"):
            if self.made_on[what] != here[what]:
                raise CalibrationError(
                    f"These rules were calibrated with another {_WORDS[what]} ({self.made_on[what]}, model "
                    f"{self.made_on['model']}; here: {here[what]}, model {here['model']}), so their thresholds say "
                    "nothing here; calibrate again."
                )

    def save(self, path: Path | str) -> None:
        """Write the file. Raises `OutputError`, or `CalibrationError` for a detector that is no dataclass."""
        rules = [
            {"name": rule.name, "score": asdict(rule.score), "detector": _described(rule.detector)}
            | {"threshold": _plain(limit), "maxima": [_plain(value) for value in own]}
            for rule, own, limit in zip(self.rules, self.maxima, self.thresholds, strict=True)
        ]
        document = {"format": FORMAT, "made_on": dict(self.made_on), "alpha": self.alpha, "roles": self.roles}
        document |= {"conversations": len(self.maxima[0]), "rules": rules, "means": self.means.tolist()}
        write_text(Path(path), json.dumps(document, allow_nan=False))

    @classmethod
    def load(cls, path: Path | str, detectors: Sequence[type] = ()) -> Calibration:
        """Read a file written by `save`.

        Args:
            detectors: classes of your own detectors that the rules use.

        Raises:
            CalibrationError: missing, damaged, of a newer format, or a detector is not known.
        """
        path = Path(path)
        if not path.is_file():
            raise CalibrationError(f"There is no calibration {path}; make one with `foreshock calibrate`.")
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            if document["format"] > FORMAT:
                raise CalibrationError(
                    f"{path} has format {document['format']}, newer than {FORMAT}; update foreshock."
                )
            return cls(
                rules=tuple(
                    Rule(str(one["name"]), Score(**one["score"]), _detector(one["detector"], detectors))
                    for one in document["rules"]
                ),
                maxima=tuple(tuple(sorted(_number(value) for value in one["maxima"])) for one in document["rules"]),
                means=np.array(document["means"], float).reshape(-1, len(document["rules"])),
                alpha=float(document["alpha"]),
                roles=None if document["roles"] is None else tuple(document["roles"]),
                made_on={key: document["made_on"][key] for key in _MADE_ON},
            )
        except (ValueError, KeyError, TypeError, AttributeError) as problem:
            raise CalibrationError(f"{path} is damaged or no calibration ({problem}); calibrate again.") from problem


def calibrate(
    rules: Sequence[Rule],
    benign: Iterable[Readings],
    alpha: float,
    model: LanguageModel,
    vectors: EmotionVectors,
    *,
    roles: Sequence[str] | None = None,
    seed: int = 0,
) -> Calibration:
    """Standardise the rules' scores on some benign conversations, and take thresholds from the others.

    Args:
        benign: readings of whole conversations, one each, all at one layer; more than memory holds will do.
        alpha: highest probability that a benign conversation raises any alarm.
        roles: whose words are looked at, e.g. `["assistant"]`; left out: everyone's.
        seed: draws the share that scores are standardised on.

    Raises:
        CalibrationError: too few conversations for `alpha`, rules that cannot be told apart, or mixed layers.
        UnknownEmotion: a rule's emotion was not read.
    """
    if not 0 < alpha < 1:
        raise CalibrationError(f"A false-alarm rate of {alpha:g} cannot be had; give one between 0 and 1, e.g. 0.01.")
    names = [rule.name for rule in rules]
    if not rules or len(set(names)) < len(names):
        raise CalibrationError(f"Rules need names of their own, and at least one rule; there are: {names}.")
    rules = [replace(rule, score=Score(rule.score.weights)) for rule in rules]
    sums, layer = _sums(rules, benign, roles)
    least = math.ceil(needed(alpha, len(rules)) / (1 - FITTING))
    if layer is None or len(sums) < least:
        raise CalibrationError(
            f"{len(sums)} benign conversations are too few for {len(rules)} rule{'s' * (len(rules) > 1)} and a "
            f"false-alarm rate of {alpha:g}; at least {least} are needed (a fifth of them standardises the scores)."
        )
    order = np.random.default_rng(seed).permutation(len(sums))
    cut = max(1, int(FITTING * len(sums)))
    pooled = np.concatenate([sums[k] for k in order[:cut]], axis=1)
    rules = [replace(rule, score=rule.score.standardised(own)) for rule, own in zip(rules, pooled, strict=True)]
    mean, spread = (np.array([[getattr(rule.score, name)] for rule in rules]) for name in ("mean", "spread"))
    scores = [(sums[k] - mean) / spread for k in order[cut:]]
    return Calibration(
        rules=tuple(rules),
        maxima=tuple(tuple(sorted(peak(rule, one[k]) for one in scores)) for k, rule in enumerate(rules)),
        means=np.array([one.mean(1) for one in scores if one.size]).reshape(-1, len(rules)),
        alpha=alpha,
        roles=None if roles is None else tuple(roles),
        made_on=identity(model, vectors, layer),
    )


def _sums(
    rules: Sequence[Rule], benign: Iterable[Readings], roles: Sequence[str] | None
) -> tuple[list[Float[np.ndarray, "rule token"]], int | None]:
    """Each conversation's weighted sums at the tokens that count, and the layer they were read at."""
    sums: list[Float[np.ndarray, "rule token"]] = []
    layer: int | None = None
    for readings in benign:
        if layer not in (None, readings.layer):
            raise CalibrationError(f"Conversations were read at layers {layer} and {readings.layer}; read all at one.")
        layer = readings.layer
        values = readings.values[counts(readings.tokens.content, readings.tokens.roles, 0, roles)]
        sums.append(np.stack([rule.score.of(values, readings.emotions) for rule in rules]))
    return sums, layer


def identity(model: LanguageModel, vectors: EmotionVectors, layer: int) -> dict[str, Any]:
    """What thresholds depend on: the model's weights, its chat template, the vectors at a layer."""
    k = vectors.layers.index(layer)
    digest = hashlib.sha256(repr(vectors.emotions).encode())
    for part in (vectors.directions[k], vectors.mean[k], vectors.spread[k]):
        digest.update(np.ascontiguousarray(part, np.float32).tobytes())
    template = str(getattr(model.tokenizer, "chat_template", ""))
    return {
        "model": model.name,
        "fingerprint": model.fingerprint,
        "vectors": digest.hexdigest()[:16],
        "layer": layer,
        "template": hashlib.sha256(template.encode()).hexdigest()[:16],
    }


_MADE_ON = ("model", "fingerprint", "vectors", "layer", "template")
_WORDS = {"fingerprint": "model", "vectors": "set of vectors", "template": "chat template"}


def _described(detector: Detector) -> dict[str, Any]:
    kind = type(detector)
    if not is_dataclass(detector):
        raise CalibrationError(f"A {kind.__name__} cannot be saved; make it a dataclass of plain values.")
    return {"kind": kind.__name__, **asdict(detector)}


def _detector(described: Mapping[str, Any], own: Sequence[type]) -> Detector:
    known = {kind.__name__: kind for kind in (Level, Change, Extreme, *own)}
    kind = described["kind"]
    if kind not in known:
        raise CalibrationError(f"The detector {kind!r} is not known here; load with detectors=[{kind}].")
    detector: Detector = known[kind](**{key: value for key, value in described.items() if key != "kind"})
    return detector


def _plain(value: float) -> float | None:
    """JSON has no infinity: null stands for a conversation in which a rule had nothing to say."""
    return None if value == NOTHING else value


def _number(value: float | None) -> float:
    return NOTHING if value is None else float(value)
