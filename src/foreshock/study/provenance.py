"""Which model, texts, versions and seed made an artefact."""

from __future__ import annotations

import hashlib
import json
import platform
from importlib.metadata import version
from typing import Any

from foreshock.activations import SKIP
from foreshock.study.subject import Subject

PACKAGES = ("foreshock", "torch", "transformers", "numpy", "scikit-learn")


def provenance(subject: Subject) -> dict[str, Any]:
    """The manifest that a study's files carry."""
    model, stories = subject.model, subject.library.stories
    texts = json.dumps(subject.library.to_json(), sort_keys=True)
    return {
        "model": model.about | {"chat_template": model.has_chat_template},
        "texts": {
            "sha256": hashlib.sha256(texts.encode()).hexdigest(),
            "passages": len(stories),
            "emotions": len({p.emotion for p in stories}),
            "topics": len({p.topic for p in stories}),
            "neutral": len(subject.library.neutral),
            "skipped_tokens": SKIP,
        },
        "versions": {name: version(name) for name in PACKAGES} | {"python": platform.python_version()},
        "norms": hashlib.sha256(json.dumps(subject.norms, sort_keys=True).encode()).hexdigest()
        if subject.norms
        else None,
        "seed": subject.seed,
    }
