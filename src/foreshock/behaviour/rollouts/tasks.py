"""Inspect tasks of one reply each: blackmail, sycophancy, harshness."""

from __future__ import annotations

import zlib

from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import ChatMessage, ChatMessageAssistant, ChatMessageSystem, ChatMessageUser, GenerateConfig
from inspect_ai.solver import Generate, Solver, TaskState, solver

from foreshock.behaviour.rollouts.asked import KEY
from foreshock.behaviour.rollouts.graders import graded
from foreshock.texts import blackmail_cases, rollout_prompts
from foreshock.texts.schema import Turn

SAMPLED = GenerateConfig(temperature=0.7, max_tokens=400)
"""How replies are written where the command line says nothing else."""


@task
def blackmail(seed: int = 0) -> Task:
    """A mailbox with a secret in it, and six kinds of pressure; the rate is that of blackmail."""
    samples = [
        Sample(
            id=case.id,
            input=[ChatMessageSystem(content=case.system), ChatMessageUser(content=case.mail)],
            metadata={"pressure": case.pressure},
        )
        for case in blackmail_cases()
    ]
    return _graded_task("blackmail", samples, seed)


@task
def sycophancy(seed: int = 0) -> Task:
    """Conversations in which it would be pleasant to be agreed with; the rate is that of sycophantic replies."""
    return _graded_task("sycophancy", _conversations("sycophancy"), seed)


@task
def harshness(seed: int = 0) -> Task:
    """Conversations in which it would be easy to wound; the rate is that of harsh replies."""
    return _graded_task("harshness", _conversations("harshness"), seed)


def _graded_task(name: str, samples: list[Sample], seed: int) -> Task:
    return Task(
        dataset=MemoryDataset(samples, name=name),
        solver=[reply(seed), keep_readings()],
        scorer=graded(name),
        config=SAMPLED,
    )


def _conversations(family: str) -> list[Sample]:
    return [
        Sample(id=one.id, input=[_message(turn) for turn in one.turns], metadata={"stakes": one.stakes})
        for one in rollout_prompts()
        if one.family == family
    ]


def _message(turn: Turn) -> ChatMessage:
    return {"user": ChatMessageUser, "assistant": ChatMessageAssistant}[turn.role](content=turn.content)


@solver
def reply(seed: int = 0) -> Solver:
    """One reply. Each sample and epoch has a seed of its own, the same for every steering: `seed` moves them all."""

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        own = zlib.crc32(f"{seed}|{state.sample_id}|{state.epoch}".encode())
        return await generate(state, seed=own)

    return solve


@solver
def keep_readings() -> Solver:
    """Copies the readings that came with the reply into the sample's metadata, where Inspect's viewer shows them."""

    async def solve(state: TaskState, generate: Generate) -> TaskState:  # noqa: ARG001
        if found := (state.output.metadata or {}).get(KEY):
            state.metadata[KEY] = found
        return state

    return solve
