"""The study's own false-positive test: the whole study on models that have learnt nothing.

Every claim has to come out *does not hold* or *cannot tell*. Leaves a study's folder for each seed under
study/null-SEED and prints the rate of claims that hold. Run: python -m benchmarks.null_study [SEEDS] [all]
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from benchmarks.measuring import save, show
from foreshock.emotions import core
from foreshock.model import open_model
from foreshock.model.untrained import untrained
from foreshock.report.folder import write_study
from foreshock.study.running import run_study
from foreshock.texts import builtin_library, stories


def main(seeds: int = 5, everything: bool = False) -> None:
    """Study `seeds` untrained models, print their verdicts and the rate of false positives."""
    tokenizer = open_model().tokenizer
    texts = stories() if everything else stories(core())
    rows, false, claims = [], 0, 0
    for seed in range(seeds):
        begun = time.perf_counter()
        model = untrained(tokenizer, seed)
        study = run_study(model, builtin_library(texts), seed=seed)
        write_study(study, Path("study") / f"null-{seed}")
        held = [finding.id for finding in study.findings if finding.verdict == "holds"]
        false, claims = false + len(held), claims + len(study.findings)
        rows.append(
            [model.name, str(len(study.findings)), ", ".join(held) or "none", f"{time.perf_counter() - begun:.0f} s"]
        )
    show("Claims that hold on models that have learnt nothing", ["model", "claims", "hold", "took"], rows)
    print(f"{false} of {claims} claims hold: a false-positive rate of {false / claims:.1%}")
    save("null_study", {"false_positives": false / claims}, {"claims": claims, "held": false, "seeds": seeds})


if __name__ == "__main__":
    main(*(int(arg) for arg in sys.argv[1:2]), everything="all" in sys.argv)
