"""Pairs of activities asked per second: prompts that share their beginning against the same prompts run whole.

Both run the embedded model over the same prompts in batches of the same token budget, padded on the right and with
the unembedding at the last token only, so that the shared key-value cache is the whole difference.
Run: python -m benchmarks.preferences
"""

from __future__ import annotations

import torch

from benchmarks.measuring import interleaved, median, save, show
from foreshock.model import LanguageModel, open_model
from foreshock.model.proofs import difference
from foreshock.model.shared_prefix import BUDGET, next_token_logits
from foreshock.study.measures.choices import Letters, find_letters, prompts_of
from foreshock.texts import builtin

FIRSTS = 2
"""First options asked in a round, each against all others."""
ROUNDS = 5


def main() -> None:
    """Measure, print and save."""
    model = open_model()
    texts = [activity.text for activity in builtin.activities()]
    letters = find_letters(model, texts[0], texts[1])
    assert letters is not None
    rows = [prompts_of(model, texts, first, letters) for first in range(FIRSTS)]
    pairs, tokens = sum(map(len, rows)), sum(len(prompt) for row in rows for prompt in row)
    contenders = {
        "whole": lambda: asked(model, rows, letters, share=False),
        "shared": lambda: asked(model, rows, letters, share=True),
    }
    for warm_up in contenders.values():
        warm_up()
    seconds = interleaved(contenders, ROUNDS)
    speeds = {name: pairs / median(values) for name, values in seconds.items()}
    ratios = {"over_whole": speeds["shared"] / speeds["whole"]}
    apart = difference(next_token_logits(model, rows[0]), next_token_logits(model, rows[0], share=False))
    show(
        f"{pairs} pairs, {tokens} tokens, {str(model.dtype)[6:]}",
        ["", "pairs/s", "times whole"],
        [[name, f"{speed:,.1f}", f"{speed / speeds['whole']:.2f}"] for name, speed in speeds.items()],
    )
    print(f"{ratios['over_whole']:.1f} times as fast; logits differ by at most {apart:.1e} of their norm")
    spread = {name: (max(values) - min(values)) / median(values) for name, values in seconds.items()}
    details = {"pairs_per_second": speeds, "rounds": ROUNDS, "spread": spread, "pairs": pairs, "tokens": tokens}
    save("preferences", ratios, {**details, "budget": BUDGET, "difference": apart, "threads": torch.get_num_threads()})


def asked(model: LanguageModel, rows: list[list[list[int]]], letters: Letters, share: bool) -> float:
    """Ask every row's prompts."""
    for prompts in rows:
        next_token_logits(model, prompts, [*letters.a, *letters.b], share=share)
    return 0.0


if __name__ == "__main__":
    main()
