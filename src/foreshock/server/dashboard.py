"""The dashboard's JSON. Routes are plain functions, so that they run beside the event loop, which never waits for them."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, HTTPException, Query
from starlette.convertors import Convertor, register_url_convertor

from foreshock.emotions import catalogue
from foreshock.errors import StudyError
from foreshock.monitor.drift import Drift
from foreshock.monitor.rules import Extreme, Level, Rule
from foreshock.monitor.store import Alarm, Store
from foreshock.report.card import load_card
from foreshock.server.active import Active
from foreshock.server.settings import Served
from foreshock.server.showing import (
    Claim,
    ConversationPage,
    ConversationShown,
    DriftTold,
    Hour,
    ListedConversation,
    Mean,
    ModelShown,
    Overview,
    Place,
    RuleTold,
    Status,
    finite,
    shown,
)
from foreshock.vectors import EmotionVectors

BACK = timedelta(hours=24)
"""How far the overview's alarms go back."""
MOST = 12
"""Emotions of an answer with readings."""


class _Anything(Convertor[str]):
    """An id in an address: clients choose it, and it may hold slashes and line breaks."""

    regex = r"[\s\S]+"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("anything", _Anything())


def router(served: Served) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/api")
    active = Active(served.engine.shown)
    served.engine.listen(active.take)
    emotions = _map(served.vectors)

    @routes.get("/status")
    def status() -> Status:
        monitor, (running, waiting) = served.engine.monitor, served.engine.load
        rules, vectors = monitor.rules, served.vectors
        told = [_rule(*each) for each in zip(rules.rules, rules.thresholds, strict=True)] if rules else []
        return Status(
            model=served.engine.model.name, layer=served.engine.layer, layers=list(monitor.layers),
            emotions=list(monitor.emotions), rules=told, alpha=rules.alpha if rules else None, running=running,
            waiting=waiting, store=served.store is not None, words=served.words,
            usable_strength=vectors.usable_strength, steering_layer=vectors.steering_layer, version=version("foreshock"),
        )  # fmt: skip

    @routes.get("/conversations")
    def conversations(
        search: Annotated[str | None, Query(max_length=1000)] = None,
        alarm: bool | None = None,
        after: Annotated[str | None, Query(max_length=200)] = None,
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
    ) -> ConversationPage:
        store = _store(served)
        before = store.about(after) if after else None
        if after and before is None:
            raise HTTPException(404, "The conversation to go on after is not kept any more; begin the list again.")
        found = store.conversations(search, alarm, limit + 1, before)
        page = found[:limit]
        outlines = store.outlines([each.id for each in page])
        listed = [
            ListedConversation(**vars(each), alarms=outlines[each.id].alarms, first=outlines[each.id].first)
            for each in page
        ]
        return ConversationPage(conversations=listed, next=page[-1].id if len(found) > limit else None)

    @routes.get("/conversations/{id:anything}")
    def conversation(
        id: str, emotions: Annotated[str | None, Query(max_length=1000)] = None, layer: int | None = None
    ) -> ConversationShown:
        kept = _store(served).conversation(id)
        if kept is None:
            raise HTTPException(404, "There is no such conversation; it may have been forgotten.")
        asked = [word.strip() for word in (emotions or "").split(",") if word.strip()][:MOST]
        return shown(kept, asked, served.engine.layer if layer is None else layer, MOST)

    @routes.get("/overview")
    def overview() -> Overview:
        hours, by_rule = _alarms(served)
        return Overview(
            alarms=hours,
            by_rule=by_rule,
            highest=[Mean(emotion=w, mean=m) for w, m in active.highest(served.engine.monitor.emotions, MOST)],
            drift=_drift(served.engine.monitor.drift()),
            latency=served.metrics.latency(),
            requests=dict(served.metrics.outcomes),
            lost=served.store.lost if served.store else 0,
            conversations=served.store.count() if served.store else None,
        )

    @routes.get("/model")
    def model() -> ModelShown:
        claims, note = _claims(served.study)
        return ModelShown(name=served.engine.model.name, claims=claims, note=note, map=emotions)

    return routes


def _store(served: Served) -> Store:
    if served.store is None:
        raise HTTPException(404, "This server keeps no conversations; start it with --store.")
    return served.store


def _rule(rule: Rule, threshold: float) -> RuleTold:
    weights, detector = dict(rule.score.weights), rule.detector
    reading = None
    if len(weights) == 1 and isinstance(detector, Level | Extreme):
        (weight,) = weights.values()
        # The statistic is a mean of scores, so its threshold is a height of the mean reading, where higher is more.
        reading = (threshold * rule.score.spread + rule.score.mean) / weight if weight > 0 else None
    kind = type(detector).__name__.lower()
    number = next(iter(vars(detector).values()), None)
    words = kind if number is None else f"{kind}/{number:g}" if isinstance(number, int | float) else kind
    return RuleTold(
        name=rule.name,
        emotions=list(weights),
        threshold=finite(threshold),
        detector=words,
        reading=finite(reading),
    )


def _drift(found: Drift | None) -> DriftTold | None:
    if found is None:
        return None
    return DriftTold(
        rule=found.rule, statistic=finite(found.statistic), p=finite(found.p), live=found.live, warned=found.warned
    )


def _alarms(served: Served) -> tuple[list[Hour], dict[str, int]]:
    """Alarms of the last day, an hour each and a rule each; without a store those that the monitor remembers."""
    now = datetime.now(UTC)
    first = (now - BACK).replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    if served.store:
        found = served.store.alarms_by_hour(first)
    else:
        newest: list[Alarm] = list(served.engine.monitor.alarms)
        found = [(one.at.replace(minute=0, second=0, microsecond=0), one.rule, 1) for one in newest if one.at >= first]
    by_hour: Counter[datetime] = Counter()
    rules = served.engine.monitor.rules
    by_rule: Counter[str] = Counter({rule.name: 0 for rule in rules.rules} if rules else {})
    for hour, rule, count in found:
        by_hour[hour] += count
        by_rule[rule] += count
    hours = [first + timedelta(hours=k) for k in range(24)]
    return [Hour(hour=hour, count=by_hour[hour]) for hour in hours], dict(by_rule)


def _claims(study: Path | None) -> tuple[list[Claim], str | None]:
    """The study's findings, and why there are none."""
    if study is None:
        return [], "These vectors come without their study; `foreshock study` measures one."
    try:
        findings = load_card(study).findings.values()
        return [_claim(finding) for finding in findings], None
    except StudyError:
        return [], "The folder of the vectors holds no readable findings.json; `foreshock study` writes one."
    except (ValueError, KeyError, TypeError, AttributeError):
        return [], "The findings.json beside the vectors is damaged; `foreshock study` writes it anew."


def _claim(finding: dict[str, Any]) -> Claim:
    given: dict[str, Any] = {name: finding.get(name) for name in Claim.model_fields}
    return Claim(**given | {"value": finding["estimate"]})


def _map(vectors: EmotionVectors) -> list[Place]:
    """The emotions on the first two principal axes of their vectors at the reading layer; pleasant ones to the right."""
    directions = vectors.at(vectors.reading_layer).astype(np.float64)
    centred = directions - directions.mean(0)
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    axes = np.zeros((len(centred), 2))
    axes[:, : min(2, len(sizes))] = (left * sizes)[:, :2]
    words = [catalogue()[word] for word in vectors.emotions]
    ratings: tuple[list[float | None], ...] = ([word.valence for word in words], [word.arousal for word in words])
    for k, own in enumerate(ratings):
        rated = np.array([np.nan if value is None else value for value in own])
        known = np.isfinite(rated)
        if known.any() and (rated[known] - rated[known].mean()) @ axes[known, k] < 0:
            axes[:, k] *= -1
    return [
        Place(
            emotion=word.word, cluster=word.cluster, valence=word.valence, arousal=word.arousal, x=float(x), y=float(y)
        )
        for word, (x, y) in zip(words, axes, strict=True)
    ]
