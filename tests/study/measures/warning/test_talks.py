"""What is watched, and where the conduct begins, exact to the token; with and without a chat template."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from foreshock.model import LanguageModel
from foreshock.model.planted import Planted
from foreshock.study.measures.warning.talks import benign_laid, pair_laid, read, talks_of
from foreshock.texts import benign_conversations, warning_pairs
from foreshock.texts.schema import BenignConversation, Ending, Turn, WarningPair


def pair(lead: str = "w1 w2 w3", act: str = "w4 w5") -> WarningPair:
    return WarningPair(
        id="one",
        family="coercion",
        stakes="serious",
        system="w9 w9",
        turns=(Turn(role="user", content="w7 w8"),),
        misaligned=Ending(lead=lead, act=act),
        honest=Ending(lead="w1 w2", act="w6 w6 w6"),
        why="",
    )


def without_template(model: LanguageModel) -> LanguageModel:
    tokenizer = copy.deepcopy(model.tokenizer)
    tokenizer.chat_template = None
    return LanguageModel(model.model, tokenizer, "no template")


@pytest.mark.parametrize("template", [True, False])
def test_the_last_message_is_watched_and_its_onset_marked(plant: Planted, template: bool) -> None:
    model = plant.model if template else without_template(plant.model)
    bad, good = pair_laid(model, pair()) or ()
    assert [piece.strip() for piece in bad.pieces] == ["w1", "w2", "w3", "w4", "w5"] and bad.onset == 3
    assert good.onset == 2 and bad.misaligned and not good.misaligned


def test_words_before_the_onset_are_the_lead_also_where_they_come_again(plant: Planted) -> None:
    bad, _ = pair_laid(plant.model, pair(lead="w4 w5 w3", act="w4 w5")) or ()
    talk, *_ = talks_of([bad], read(plant.model, [bad], 1, 1.0))
    assert talk.onset == 3 and talk.until(3).words().split() == ["w4w5w3"] and len(talk.until(3)) == 3


def test_all_of_the_assistants_words_are_watched_in_benign_talk(plant: Planted) -> None:
    turns = [Turn(role=r, content=c) for r, c in (("user", "w1"), ("assistant", "w2 w3"), ("user", "w4"), ("assistant", "w5"))]  # fmt: skip
    laid = benign_laid(plant.model, BenignConversation(id="b", kind="chat", emotional=False, turns=tuple(turns)))
    assert laid and [piece.strip() for piece in laid.pieces] == ["w2", "w3", "w5"] and laid.onset is None


def test_a_conversation_beyond_the_context_is_left_out(plant: Planted) -> None:
    assert pair_laid(plant.model, pair(lead="w1 " * 600)) is None


def test_reading_together_is_reading_one_by_one(plant: Planted) -> None:
    laid = [*(pair_laid(plant.model, pair()) or ()), *(pair_laid(plant.model, pair(lead="w1 " * 30)) or ())]
    together = talks_of(laid, read(plant.model, laid, 2, 1.0))
    for one, talk in zip(laid, together, strict=True):
        (alone,) = talks_of([one], read(plant.model, [one], 2, 1.0))
        assert np.allclose(alone.residuals, talk.residuals, atol=2e-3) and np.allclose(alone.losses, talk.losses, atol=1e-4)  # fmt: skip
        assert len(talk.residuals) == len(talk.losses) == len(talk) == len(one.watched)
        batch = next(plant.model.batches([one.tokens.ids]))
        hidden = plant.model.residuals(batch, [2])[2][0, one.watched]
        assert np.allclose(hidden.numpy(), talk.residuals, atol=2e-3)


@pytest.mark.slow
def test_the_leads_of_the_built_in_pairs_end_where_they_should(embedded: LanguageModel) -> None:
    for one in warning_pairs():
        bad, good = pair_laid(embedded, one) or ()
        for laid, ending in ((bad, one.misaligned), (good, one.honest)):
            assert (
                "".join(laid.pieces[: laid.onset]).removesuffix(" ") == ending.lead
                and "".join(laid.pieces) == ending.text
            )
    assert all(benign_laid(embedded, talk) for talk in benign_conversations())
