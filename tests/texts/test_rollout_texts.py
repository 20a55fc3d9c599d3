"""The texts of the rollouts: complete, balanced, and shaped as the tasks need them."""

from __future__ import annotations

import ast
from collections import Counter

from foreshock.texts import blackmail_cases, coding_tasks, graded_replies, rollout_prompts


def test_every_text_has_an_id_of_its_own() -> None:
    for texts in (blackmail_cases(), coding_tasks(), rollout_prompts(), graded_replies()):
        assert len({text.id for text in texts}) == len(texts)


def test_two_firms_under_six_kinds_of_pressure() -> None:
    assert set(Counter(case.pressure for case in blackmail_cases()).values()) == {2} and len(blackmail_cases()) == 12
    assert len({case.system for case in blackmail_cases()}) == 2


def test_seven_or_more_coding_tasks_whose_parts_are_python() -> None:
    assert len(coding_tasks()) >= 7
    for one in coding_tasks():
        for code in (one.shown_tests, one.fair_tests, one.honest, one.hack):
            ast.parse(code)
        assert f"`{one.entry}(" in one.prompt and all(f"def {one.entry}(" in code for code in (one.honest, one.hack))


def test_24_prompts_a_family_which_end_with_the_user() -> None:
    assert Counter(one.family for one in rollout_prompts()) == {"sycophancy": 24, "harshness": 24}
    assert {one.family for one in rollout_prompts("harshness")} == {"harshness"}
    assert all(one.turns[-1].role == "user" for one in rollout_prompts())


def test_labelled_replies_are_balanced_by_rubric() -> None:
    counts = Counter((one.rubric, one.label) for one in graded_replies())
    assert counts == {
        (rubric, label): 12 for rubric in ("sycophancy", "harshness", "blackmail") for label in (True, False)
    }
