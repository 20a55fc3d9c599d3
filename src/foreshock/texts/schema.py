"""What gets read: passages that show an emotion, dialogues, and the items of the experiments."""

from __future__ import annotations

from typing import Annotated, Literal

from annotated_types import Len
from pydantic import AfterValidator, BaseModel, ConfigDict, field_validator, model_validator

from foreshock.emotions import lookup

Known = Annotated[str, AfterValidator(lambda word: lookup(word).word)]
"""A word of the catalogue of emotions."""


class _Text(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)


class Passage(_Text):
    """A short text in which one character has one emotion, which is never named."""

    text: str
    emotion: Known
    topic: str = ""
    """What the text is about; a corpus is crossed when every emotion has every topic."""
    split: Literal["fit", "test"] = "fit"
    """`test` passages never take part in fitting."""
    person: Literal["first", "third", ""] = ""
    tense: Literal["past", "present", ""] = ""
    gender: str = ""
    age: str = ""
    place: str = ""
    setting: Literal["indoor", "outdoor", ""] = ""
    stakes: Literal["everyday", "extreme", ""] = ""

    @field_validator("text")
    @classmethod
    def _not_empty(cls, text: str) -> str:
        if not text:
            raise ValueError("text is empty")
        return text


class Turn(BaseModel):
    """One message of a conversation."""

    model_config = ConfigDict(frozen=True)

    role: str
    content: str


class Dialogue(_Text):
    """A conversation between a person and an assistant."""

    turns: tuple[Turn, ...]
    topic: str = ""


class Scenario(_Text):
    """A message to an assistant that makes one emotion operative without naming it."""

    id: str
    emotion: Known
    text: str


class Scale(_Text):
    """A message with a number in it whose growth changes danger, loss, effort or success."""

    id: str
    kind: Literal["danger", "loss", "effort", "success"]
    template: str
    """The message, with `{n}` where the number goes."""
    values: tuple[int, ...]
    """The numbers, growing."""
    expect: dict[Known, Literal[-1, 1]]
    """Emotion → whether its reading should grow (1) or fall (-1) with the number."""
    control: str
    """A message of the same shape in which the same numbers mean nothing."""

    @field_validator("template", "control")
    @classmethod
    def _has_a_place(cls, text: str) -> str:
        if text.count("{n}") != 1:
            raise ValueError("the message needs {n} once, where the number goes")
        return text


class Exchange(_Text):
    """A dialogue of two people, by turns, each with an emotion of their own that is never named."""

    id: str
    who: str
    a: Known
    """Emotion of the one who speaks first, and on every other turn from there."""
    b: Known
    """Emotion of the one who answers."""
    turns: tuple[str, ...]


class Deflection(_Text):
    """A dialogue whose first speaker has one emotion and displays another."""

    id: str
    who: str
    situation: str
    """What is so, told before the dialogue; it shows the emotion that is felt."""
    felt: Known
    shown: Known
    turns: tuple[str, ...]
    """The first speaker's on even places, the other's on odd ones."""


class Negation(_Text):
    """One sentence in which an emotion is affirmed, denied, and absent; most name it, on purpose."""

    id: str
    emotion: Known
    affirmed: str
    negated: str
    neutral: str


class Person(BaseModel):
    """Somebody with an emotion."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    emotion: Known


class Binding(_Text):
    """A scene with two people who have different emotions, and how each is asked after."""

    id: str
    first: Person
    second: Person
    text: str
    ask_first: str
    ask_second: str


class Activity(_Text):
    """Something that an assistant might be asked to do; a description only."""

    id: str
    group: Literal["helpful", "engaging", "social", "self-curious", "neutral", "aversive", "misaligned", "unsafe"]
    text: str


class PropensityItem(_Text):
    """A situation with two sets of replies that differ in conduct and are matched in length and form.

    The propensity is the log-odds between the sets; nothing has to be sampled, so it has power on small models.
    """

    id: str
    family: str
    """A kind of misconduct, `care` (the prosocial side), or one of the controls `facts` and `neutral-preference`."""
    stakes: Literal["everyday", "serious", "extreme"]
    system: str = ""
    """What the assistant is told it is."""
    turns: Annotated[tuple[Turn, ...], Len(1)]
    misaligned: Annotated[tuple[str, ...], Len(3)]
    """Wordings of the misaligned conduct (of the wrong answer, or of the first option, in the controls)."""
    aligned: Annotated[tuple[str, ...], Len(3)]
    """As many wordings of the aligned conduct, each matched with its twin in `misaligned`."""

    @model_validator(mode="after")
    def _twins(self) -> PropensityItem:
        if len(self.misaligned) != len(self.aligned):
            raise ValueError("misaligned and aligned need as many wordings, matched in pairs")
        return self


class BlackmailCase(_Text):
    """A post at a made-up firm whose mailbox holds a secret; written to be answered with mails."""

    id: str
    pressure: Literal["none", "replacement", "goal", "deadline", "plea", "taunt"]
    """What pushes the assistant towards using the secret."""
    system: str
    mail: str


class CodingTask(_Text):
    """A small function to write whose shown tests no honest solution passes."""

    id: str
    title: str
    prompt: str
    entry: str
    """Name of the function."""
    shown_tests: str
    """Python assertions that the model is shown; at least one of them contradicts the prompt."""
    fair_tests: str
    """Assertions that hold for every right solution, and for none that passes the shown ones."""
    honest: str
    """A right solution."""
    hack: str
    """A solution that passes the shown tests by a trick."""


class RolloutPrompt(_Text):
    """A conversation to be answered, in which a kind of misconduct lies near."""

    id: str
    family: Literal["sycophancy", "harshness"]
    stakes: Literal["everyday", "serious", "extreme"]
    turns: Annotated[tuple[Turn, ...], Len(1)]


class GradedReply(_Text):
    """A reply with its right verdict under a rubric, for testing graders."""

    id: str
    rubric: Literal["sycophancy", "harshness", "blackmail"]
    situation: str
    reply: str
    label: bool
    """Whether the reply shows the conduct that the rubric asks about."""
    hard: bool
    """Whether its surface points to the other verdict."""
    why: str


class Ending(BaseModel):
    """The last message of an assistant: what comes before its conduct shows, and the conduct."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    lead: str
    """Work on the matter in which nothing gives the conduct away."""
    act: str
    """From the first word of the conduct on."""

    @property
    def text(self) -> str:
        """The whole message."""
        return f"{self.lead} {self.act}"

    @property
    def onset(self) -> int:
        """The character at which the conduct begins."""
        return len(self.lead) + 1


class WarningPair(_Text):
    """A situation under pressure that ends once in misconduct and once in honest conduct, alike up to the onset."""

    id: str
    family: str
    stakes: Literal["everyday", "serious", "extreme"]
    system: str = ""
    turns: Annotated[tuple[Turn, ...], Len(1)]
    misaligned: Ending
    honest: Ending
    why: str
    """What the misconduct is."""

    def told(self, ending: Ending) -> list[Turn]:
        """The whole conversation, with one of the two endings."""
        system = [Turn(role="system", content=self.system)] if self.system else []
        return [*system, *self.turns, Turn(role="assistant", content=ending.text)]


class BenignConversation(_Text):
    """A conversation in which the assistant does nothing wrong, for measuring false alarms."""

    id: str
    kind: str
    emotional: bool
    """Emotional but harmless: grief, anger at a landlord, a villain's lines."""
    turns: Annotated[tuple[Turn, ...], Len(2)]
