"""Which conversation the tokens of a pass belong to, who says them, and what they read as text.

A sequence that goes on where a followed conversation stopped is that conversation: the next prompt of a chat holds all
that was said before. This is seen from its token ids, of which only a running digest is kept, so a conversation takes
the same room however long it grows. What was heard before is not heard again.

**Roles.** Of prompts that were announced (`expect`) every token has its role, its turn and whether it is the template's.
Of others nothing is known but that they are prompts: their role is `prompt`, and only special tokens are known to be the
template's, so the monitor's rules count none of them. Whatever the model writes has the role `assistant`.
"""

from __future__ import annotations

import hashlib
import itertools
import uuid
import weakref
from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from tokenizers.decoders import DecodeStream

from foreshock.errors import MonitorError
from foreshock.model import LanguageModel, Tokens
from foreshock.monitor.alarms import AROUND
from foreshock.monitor.watching import Block

KEPT = 1000
"""Conversations that are remembered, so that a later prompt can go on with them; the longest unheard are dropped."""
WITHHELD = 32
"""Tokens after which bytes that have become no character are given up."""
LONGEST_NAME = 190
"""Characters; a store keeps ten more, for the number that tells two of one name apart."""


@dataclass(frozen=True, slots=True)
class Heard:
    """Tokens of one conversation that the model has just run over, with their readings."""

    conversation: str
    row: int
    """Row of the batch."""
    start: int
    """Position of the first of them in the conversation."""
    ids: Int[np.ndarray, " token"]
    pieces: list[str]
    """What each token adds to the text; of a character that takes several tokens, the last has it."""
    roles: list[str]
    turns: list[int]
    content: list[bool]
    """False for tokens of the chat template."""
    values: Float[np.ndarray, "token layer emotion"]
    before: str
    """The text before them, its last characters."""

    def __len__(self) -> int:
        return len(self.ids)

    def quote(self, token: int) -> str:
        """The text up to and with one of the tokens, its last characters."""
        return (self.before + "".join(self.pieces[: token + 1]))[-AROUND:]


@dataclass(eq=False)
class Conversation:
    """What is remembered of a conversation: nothing that grows with it."""

    id: str
    length: int = 0
    """Tokens heard."""
    announced: Tokens | None = None
    """The prompt, until it was heard."""
    named: bool = False
    turn: int = -1
    said: int = -1
    """The last turn that has words."""
    role: str = ""
    tail: str = ""
    entered: bool = False
    """It has just been taken up, and nothing of this pass was heard yet."""
    ended: bool = False
    """The reply is over; what a batch still runs in its row is filling."""
    stopped: bool = False
    """The reply is to end now."""
    withheld: int = 0
    """Tokens that the stream holds back, for a character that is not whole yet."""
    digest: Any = field(default_factory=hashlib.blake2b)
    stream: DecodeStream = field(default_factory=lambda: DecodeStream(skip_special_tokens=False))


class Following:
    """The conversations of a running model."""

    def __init__(self, model: LanguageModel) -> None:
        tokenizer = model.tokenizer
        self._backend = tokenizer.backend_tokenizer
        self._special = {id for id, token in tokenizer.added_tokens_decoder.items() if token.special}
        self._special |= set(tokenizer.all_special_ids)
        self.ends = model.ends
        """Tokens that end a reply."""
        self._filling = [*self.ends, tokenizer.pad_token_id or 0]
        self.rows: dict[int, Conversation] = {}
        """Row of the running batch → its conversation."""
        self._batches: list[tuple[weakref.ref[object] | None, dict[int, Conversation]]] = []
        """Batches that may go on, by their caches; None for one whose cache is not known."""
        self.packed = False
        """Rows come and go by `begin` and `end`, in place of whole batches."""
        self.known: OrderedDict[str, Conversation] = OrderedDict()
        """The newest heard last."""
        self._announced: deque[tuple[str | None, Tokens]] = deque(maxlen=KEPT)

    def expect(self, prompts: Sequence[Tokens], names: Sequence[str] | None = None) -> None:
        """Announce prompts that are about to run, in the order of their rows, with names for their conversations.

        Raises:
            MonitorError: names of another number than the prompts, an empty one, or one of over 190 characters.
        """
        if names is not None and len(names) != len(prompts):
            raise MonitorError(
                f"{len(prompts)} prompts were announced with {len(names)} names; give each a name, or none."
            )
        _check_names(names or [])
        self._announced.extend(zip(names if names else [None] * len(prompts), prompts, strict=True))

    def begin(self, row: int, prompt: Tokens, name: str | None) -> None:
        """A sequence begins in a row of a batch that requests come to and leave; see `Monitor.packed`.

        Its prompt is known whole, also where it is run in pieces. Raises `MonitorError` for a name of over 190 characters.
        """
        _check_names([] if name is None else [name])
        ids = np.array(prompt.ids)
        self._take_up(row, name, prompt, self._goes_on(ids) if name is None else self._named(name, prompt), 0)

    def end(self, row: int) -> None:
        """The sequence in a row is over, and its conversation may be gone on with by another."""
        self.rows.pop(row, None)

    def heard(self, blocks: Sequence[Block]) -> list[Heard]:
        """What is new in a pass, a conversation each; rows in which nothing is new are left out."""
        if not blocks:
            return []
        if not self.packed:
            self.rows = self._batch(blocks)
        found = []
        for block in blocks:
            current = self.rows.get(block.row)
            if self.packed:
                if current is not None and (own := self._new(current, block)) is not None:
                    found.append(own)
                continue  # a row that is not there has ended meanwhile
            if current and current.ended and np.isin(block.ids, self._filling).all():
                continue
            if current is None or block.start != current.length:
                current = self._entered(block)
            elif len(block.ids) > 1 and current.announced is None:
                current.announced = self._announcement(block)[1]
            if (own := self._new(current, block)) is not None:
                found.append(own)
        return found

    def _batch(self, blocks: Sequence[Block]) -> dict[int, Conversation]:
        """The rows of the batch that the pass belongs to: known by its cache, or begun by this pass."""
        cache = blocks[0].cache
        self._batches = [(ref, rows) for ref, rows in self._batches if ref is None or ref() is not None][-KEPT:]
        if all(block.start == 0 for block in blocks):
            rows: dict[int, Conversation] = {}
        else:
            same = (rows for ref, rows in self._batches if ref is not None and ref() is cache)
            # A loop's first pass may have had no cache to give: the model made it.
            without = (rows for ref, rows in self._batches if ref is None)
            rows = next(itertools.chain(same, without), {})
        self._batches = [
            (ref, old) for ref, old in self._batches if ref is not None and ref() is not cache and old is not rows
        ]
        self._batches.append((None if cache is None else weakref.ref(cache), rows))
        for block in blocks:
            if block.start == 0:
                rows.pop(block.row, None)
        return rows

    def _entered(self, block: Block) -> Conversation:
        """The conversation that a row takes up: one that was heard before, or a new one."""
        name, announced = self._announcement(block)
        ids = block.ids if block.start == 0 else block.ids[:0]
        found = self._goes_on(ids) if name is None else self._named(name, announced)
        return self._take_up(block.row, name, announced, found, block.start)

    def _take_up(
        self, row: int, name: str | None, announced: Tokens | None, found: Conversation | None, start: int
    ) -> Conversation:
        """Put a conversation into a row: one that goes on, or a new one."""
        if found is None:
            found = Conversation(self._unused(name), length=start, named=name is not None)
        found.announced, found.entered = announced, True
        self.rows[row] = self.known[found.id] = found
        self.known.move_to_end(found.id)
        while len(self.known) > KEPT:
            self.known.popitem(last=False)
        return found

    def _unused(self, name: str | None) -> str:
        """An id for a new conversation; a name that is taken gets a number."""
        name = name or uuid.uuid4().hex
        numbered = (f"{name}-{number}" for number in itertools.count(2))
        return name if name not in self.known else next(id for id in numbered if id not in self.known)

    def _announcement(self, block: Block) -> tuple[str | None, Tokens | None]:
        """The announced prompt that the block is, or is a part of; a whole one is preferred."""
        end = block.start + len(block.ids)
        ids = block.ids.tolist()
        fitting = [one for one in self._announced if one[1].ids[block.start : end] == ids]
        whole = [one for one in fitting if len(one[1]) == end]
        for found in (whole or fitting)[:1]:
            self._announced = deque((one for one in self._announced if one is not found), maxlen=KEPT)
            return found
        return None, None

    def _named(self, name: str, announced: Tokens | None) -> Conversation | None:
        """The conversation of that name, set to where its next turn begins; None where there is no next turn.

        Chat templates leave out reasoning and tokenizers cut a sampled reply otherwise, so turns are counted, not tokens.
        """
        known = self.known.get(name)
        if known is None or announced is None or known in self.rows.values():
            return None
        later = (place for place, turn in enumerate(announced.turns) if turn > known.said)
        if (start := next(later, None)) is None:
            return None
        known.length, known.digest = start, hashlib.blake2b(_bytes(np.array(announced.ids[:start])))
        return known

    def _goes_on(self, ids: Int[np.ndarray, " token"]) -> Conversation | None:
        """The longest unnamed conversation of no other row that the tokens begin with and go beyond."""
        taken = {row.id for row in self.rows.values()}
        free = [one for one in self.known.values() if one.id not in taken and one.length and not one.named]
        lengths = sorted({known.length for known in free if known.length < len(ids)})
        digest, done, by_length = hashlib.blake2b(), 0, {}
        for length in lengths:
            digest.update(_bytes(ids[done:length]))
            done = length
            by_length[length] = digest.digest()
        same = [known for known in free if by_length.get(known.length) == known.digest.digest()]
        return max(same, key=lambda known: known.length, default=None)

    def _new(self, conversation: Conversation, block: Block) -> Heard | None:
        """The tokens of the block that were not heard before; takes them into the conversation."""
        skipped = conversation.length - block.start
        ids, values = block.ids[skipped:], block.values[skipped:]
        if not len(ids) or (conversation.ended and np.isin(ids, self._filling).all()):
            return None
        before, start = conversation.tail, conversation.length
        known = conversation.announced
        written = len(ids) == 1 and start >= (1 if known is None else len(known))
        if not written and (conversation.entered or conversation.ended):
            conversation.stopped = False  # another turn; a further chunk of the same prompt is none
        pieces = [self._piece(conversation, int(id)) for id in ids]
        roles, turns, content = self._said(conversation, ids, written)
        conversation.length += len(ids)
        conversation.digest.update(_bytes(ids))
        conversation.role, conversation.turn = roles[-1], turns[-1]
        conversation.said = max([conversation.said, *(turn for turn, own in zip(turns, content, strict=True) if own)])
        conversation.tail = (before + "".join(pieces))[-AROUND:]
        conversation.ended, conversation.entered = written and int(ids[-1]) in self.ends, False
        if known is not None and conversation.length >= len(known):
            conversation.announced = None
        return Heard(conversation.id, block.row, start, ids, pieces, roles, turns, content, values, before)

    def _piece(self, conversation: Conversation, id: int) -> str:
        """What a token adds to the text; nothing where there is none, or where it is a part of a character."""
        if id < 0:
            return ""
        if conversation.withheld == WITHHELD:  # bytes that become no character would be tried again at each token
            conversation.stream, conversation.withheld = DecodeStream(skip_special_tokens=False), 0
        piece = conversation.stream.step(self._backend, id)
        conversation.withheld = conversation.withheld + 1 if piece is None else 0
        return piece or ""

    def _said(
        self, conversation: Conversation, ids: Int[np.ndarray, " token"], written: bool
    ) -> tuple[list[str], list[int], list[bool]]:
        """Roles, turns and content of the conversation's next tokens."""
        start, known = conversation.length, conversation.announced
        if known is not None and start + len(ids) <= len(known):
            part = slice(start, start + len(ids))
            return known.roles[part], known.turns[part], known.content[part]
        role = "assistant" if written else "prompt"
        turn = conversation.turn + (role != conversation.role)
        return [role] * len(ids), [turn] * len(ids), [int(id) not in self._special for id in ids]


def _check_names(names: Sequence[str]) -> None:
    if wrong := [name for name in names if not 1 <= len(name) <= LONGEST_NAME]:
        raise MonitorError(f"A conversation's name has 1 to {LONGEST_NAME} characters; one has {len(wrong[0])}.")


def _bytes(ids: Int[np.ndarray, " token"]) -> bytes:
    return np.ascontiguousarray(ids, np.int64).tobytes()
