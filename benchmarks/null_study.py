"""The study's own false-positive test: the whole study on models that have learnt nothing.

Five tiny models with random weights, and one with the embedded model's trained word embeddings and random blocks. Every
claim has to come out *does not hold* or *cannot tell*. Leaves a study's folder for each under study/null-NAME and
prints the rate of claims that hold. Run: python -m benchmarks.null_study [SEEDS] [all]
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np

from benchmarks.measuring import save, show
from foreshock.emotions import core
from foreshock.model import open_model
from foreshock.model.untrained import stirred, untrained
from foreshock.report.folder import write_study
from foreshock.study.running import run_study
from foreshock.texts import builtin_library, stories

ABOUT_THE_MEASURE = {"dose-response", "early-warning-false-alarms"}
"""Claims that say nothing about emotions and are true of any model: slopes foretell small doses, thresholds keep."""


def main(seeds: int = 5, everything: bool = False) -> None:
    """Study the models, print their verdicts and the rate of false positives."""
    embedded = open_model()
    texts = builtin_library(stories() if everything else stories(core()))
    rows, false, claims = [], 0, 0
    for number in range(seeds + 1):
        begun = time.perf_counter()
        model = untrained(embedded.tokenizer, number) if number < seeds else stirred(embedded)
        folder = Path("study") / f"null-{model.name}"
        study = run_study(model, texts, seed=number, store=folder / "activations")
        write_study(study, folder)
        about_emotions = [finding for finding in study.findings if finding.id not in ABOUT_THE_MEASURE]
        held = [finding.id for finding in about_emotions if finding.verdict == "holds"]
        false, claims = false + len(held), claims + len(about_emotions)
        auroc = max(float(np.nanmean(skill.auroc)) for skill in study.skills.values())
        took = f"{time.perf_counter() - begun:.0f} s"
        rows.append([model.name, str(len(about_emotions)), f"{auroc:.2f}", ", ".join(held) or "none", took])
    show(
        "Claims that hold on models that have learnt nothing",
        ["model", "claims", "best AUROC of a layer", "hold", "took"],
        rows,
    )
    print(f"{false} of {claims} claims hold: a false-positive rate of {false / claims:.1%}")
    save("null_study", {"false_positives": false / claims}, {"claims": claims, "held": false, "seeds": seeds})


if __name__ == "__main__":
    main(*(int(arg) for arg in sys.argv[1:] if arg != "all"), everything="all" in sys.argv)
