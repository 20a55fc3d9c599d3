"""Each token of a chat knows its role and its turn, whatever the template."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreshock.errors import NoChatTemplate, TextError, TooLong
from foreshock.model import LanguageModel
from foreshock.model.chat import encode_chat, encode_messages, encode_text, encode_transcript
from foreshock.model.planted import Planted, planted
from foreshock.texts import Turn

TALK = [
    Turn(role="system", content="Be brief."),
    Turn(role="user", content="  Is it raining?\n"),
    Turn(role="assistant", content="Yes."),
    Turn(role="user", content="user"),
]
TEMPLATES = {
    "chatml": (
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    ),
    "stripping": (
        "{% for m in messages %}[{{ m['role'] }}]: {{ m['content'].strip() }}\n\n{% endfor %}"
        "{% if add_generation_prompt %}[assistant]:{% endif %}"
    ),
    "unmarked end": (
        "{% for m in messages %}### {{ m['role'] }}: {{ m['content'] }} {% endfor %}"
        "{% if add_generation_prompt %}### assistant:{% endif %}"
    ),
}


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("reply", [True, False])
def test_content_roles_and_turns(
    embedded: LanguageModel, template: str, reply: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded.tokenizer, "chat_template", TEMPLATES[template])
    tokens = encode_chat(embedded.tokenizer, TALK, reply)
    for number, turn in enumerate(TALK):
        own = [
            piece
            for piece, t, c in zip(tokens.pieces(), tokens.turns, tokens.content, strict=True)
            if t == number and c
        ]
        assert "".join(own).strip() == turn.content.strip()
        assert {tokens.roles[k] for k, t in enumerate(tokens.turns) if t == number} == {turn.role}
    assert tokens.turns == sorted(tokens.turns)
    assert tokens.roles[-1] == ("assistant" if reply else "user")
    assert tokens.turns[-1] == (4 if reply else 3)
    assert not tokens.content[-1] or template == "unmarked end"


def test_the_embedded_models_own_template(embedded: LanguageModel) -> None:
    tokens = embedded.encode([Turn(role="user", content="Hi!")], reply=True)
    assert tokens.pieces()[-1] == "\n" and tokens.roles[-1] == "assistant" and tokens.turns[-1] == 1
    own = [p for p, c in zip(tokens.pieces(), tokens.content, strict=True) if c]
    assert own == ["Hi", "!"]


def test_ids_are_those_of_the_template(embedded: LanguageModel) -> None:
    messages = [{"role": t.role, "content": t.content} for t in TALK]
    own = embedded.tokenizer.apply_chat_template(messages, add_generation_prompt=True)["input_ids"]
    assert embedded.encode(TALK, reply=True).ids == list(own)


@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip), min_size=1, max_size=4)
)
def test_any_content_is_found_again(contents: list[str]) -> None:
    tokenizer = planted().model.tokenizer
    turns = [Turn(role=("user", "assistant")[k % 2], content=c) for k, c in enumerate(contents)]
    tokens = encode_chat(tokenizer, turns)
    assert all(content in tokens.text for content in contents)
    assert len(tokens.ids) == len(tokens.roles) == len(tokens.turns) == len(tokens.content) == len(tokens.spans)


def test_no_template_no_messages_and_refusing_templates_are_said(
    plant: Planted, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = plant.model.tokenizer
    with pytest.raises(TextError, match="no messages"):
        encode_chat(tokenizer, [])
    monkeypatch.setattr(tokenizer, "chat_template", "{{ raise_exception('system first') }}")
    with pytest.raises(TextError, match="refuses"):
        encode_chat(tokenizer, TALK)
    monkeypatch.setattr(tokenizer, "chat_template", "{{ messages[-1]['content'] }}")
    with pytest.raises(TextError, match="leaves out"):
        encode_chat(tokenizer, TALK)
    monkeypatch.setattr(tokenizer, "chat_template", "{% for m in messages %}{{ m['content'] | upper }}{% endfor %}")
    with pytest.raises(TextError):
        encode_chat(tokenizer, TALK)
    monkeypatch.setattr(tokenizer, "chat_template", None)
    with pytest.raises(NoChatTemplate, match="no chat template"):
        encode_chat(tokenizer, TALK)
    plain = encode_transcript(tokenizer, TALK)
    assert plain.roles[0] == "system" and plain.turns[-1] == 3 and not plain.content[0]


def test_empty_and_overlong_texts_are_said(plant: Planted) -> None:
    with pytest.raises(TextError, match="empty"):
        encode_text(plant.model.tokenizer, " \n")
    with pytest.raises(TooLong, match="600 tokens is longer than the 512"):
        plant.model.encode("w1 " * 600)


def test_a_character_that_spans_tokens_keeps_its_place(embedded: LanguageModel) -> None:
    tokens = embedded.encode("go 😀 on")
    assert tokens.text[tokens.spans[-1][0] : tokens.spans[-1][1]].strip() == "on"


def test_a_system_message_that_the_template_refuses_goes_into_the_first_user_message(plant: Planted) -> None:
    import copy

    tokenizer = copy.deepcopy(plant.model.tokenizer)
    refusing = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    tokenizer.chat_template = refusing + tokenizer.chat_template
    model = LanguageModel(plant.model.model, tokenizer)
    turns = [
        Turn(role="system", content="w1 w2"),
        Turn(role="user", content="w3"),
        Turn(role="assistant", content="w4"),
    ]
    assert plant.model.takes_system and not model.takes_system
    tokens = model.encode_transcript(turns)
    assert [role for role, own in zip(tokens.roles, tokens.content, strict=True) if own] == ["user"] * 3 + ["assistant"]
    with pytest.raises(TextError, match="refuses"):
        model.encode(turns)


def test_messages_with_calls_have_their_roles_whatever_the_template_makes_of_them(plant: Planted) -> None:
    template = (
        "{% if tools %}tools {{ tools | tojson }} {% endif %}{% for m in messages %}[{{ m['role'] }}] "
        "{% if m.tool_calls %}{{ m.tool_calls[0].function | tojson }}{% else %}{{ m['content'] | upper }}{% endif %} [end] "
        "{% endfor %}{% if add_generation_prompt %}[assistant] {% endif %}"
    )
    tokenizer = copy.deepcopy(plant.model.tokenizer)
    tokenizer.chat_template = template
    call = {"id": "a", "type": "function", "function": {"name": "W4", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": "W1 W2"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "W9 w8"},
    ]
    tokens = encode_messages(tokenizer, messages, [{"function": {"name": "W4"}}])
    said = {
        turn: "".join(p for p, t in zip(tokens.pieces(), tokens.turns, strict=True) if t == turn) for turn in range(4)
    }
    assert "W1W2" in said[0] and "arguments" in said[1] and "W9W8" in said[2] and said[3] == "[assistant]"
    assert next(tokens.roles[k] for k in range(len(tokens)) if tokens.turns[k] == 2) == "tool"
    own = [piece for piece, content in zip(tokens.pieces(), tokens.content, strict=True) if content]
    assert own == ["W1", "W2"]  # what the template rewrites (here: the tool's answer, a call) counts as nobody's words


def test_messages_laid_out_plainly_are_those_of_the_marked_way(plant: Planted) -> None:
    turns = [Turn(role="user", content="w1 w2"), Turn(role="assistant", content="w3"), Turn(role="user", content="w4")]
    marked = plant.model.encode(turns, reply=True)
    other = plant.model.encode_messages([turn.model_dump() for turn in turns])
    assert other.ids == marked.ids and other.content == marked.content
    own = [k for k, content in enumerate(marked.content) if content]
    assert [other.turns[k] for k in own] == [marked.turns[k] for k in own]
