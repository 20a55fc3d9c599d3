"""An author behind any endpoint that speaks OpenAI's chat completions, on the net or on this machine."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import TYPE_CHECKING, Any

from foreshock.errors import MissingExtra, ModelError

if TYPE_CHECKING:
    import openai

ROOM = 2000
"""Most tokens of an answer: a story has 150, a model that thinks first needs the rest."""
PATIENCE = 8
"""Times that a failed request is sent again, with growing pauses, before the run stops: about a minute."""


class Endpoint:
    """A model at an endpoint, as an `Author`. The key is the environment's `OPENAI_API_KEY`, if it has one.

    Args:
        url: the base address, e.g. `http://localhost:8000/v1`.
        model: its name there; None for the only one that the endpoint lists.
        at_once: requests under way at the same time.
        patience: see `PATIENCE`.

    Raises:
        MissingExtra: the package `openai` is not installed.
        ModelError: nobody answers at `url`, the key is refused, or it is not clear which model is meant.
    """

    def __init__(
        self, url: str, model: str | None, temperature: float, at_once: int = 8, patience: int = PATIENCE
    ) -> None:
        try:
            import openai
        except ImportError:
            raise MissingExtra("Writing through an endpoint needs: pip install 'foreshock[write]'") from None
        self.url = re.sub(r"//[^/@]*@", "//", url)  # a password in the address is nobody's business
        if not re.match(r"https?://[^/\s]", self.url):
            raise ModelError(f"{self.url} is no endpoint's address; give one like http://localhost:8000/v1.")
        self._temperature, self._at_once = temperature, at_once
        # Not every endpoint knows these two; the first refusal that names one ends its use.
        self._extras = {"seed", "max_completion_tokens"}
        key = os.environ.get("OPENAI_API_KEY") or "none"
        self._client = openai.OpenAI(base_url=url, api_key=key, max_retries=patience, timeout=120)
        self.model = self._found(model)

    def __call__(self, prompts: Sequence[str], seed: int) -> list[str]:
        """A text for each prompt, in order. Raises `ModelError` when the endpoint still fails after all retries."""
        with ThreadPoolExecutor(self._at_once) as pool:
            return list(pool.map(self._ask, prompts, count(seed)))

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _found(self, model: str | None) -> str:
        """The name of the model, after one quick question that shows whether anybody is there."""
        import openai

        names: list[str] | None = None
        try:
            names = [listed.id for listed in self._client.with_options(max_retries=1, timeout=20).models.list()]
        except (openai.AuthenticationError, openai.PermissionDeniedError, openai.APIConnectionError) as problem:
            raise self._failure(problem) from None
        except (openai.OpenAIError, ValueError, AttributeError, TypeError):
            pass  # many endpoints list no models; that this one answered is enough
        if model or (names and len(names) == 1):
            return model or str(names and names[0])
        listed = f"it has {', '.join(names[:8])}" if names else "it lists none"
        raise ModelError(
            f"Name the model that {self.url} should write with: foreshock write NAME --endpoint … ({listed})."
        )

    def _ask(self, prompt: str, seed: int) -> str:
        import openai

        known = {"seed": seed, "max_completion_tokens": ROOM}
        extras: dict[str, Any] = {name: known[name] for name in sorted(self._extras)}
        try:
            answer = self._client.chat.completions.create(
                model=self.model,
                messages=[{"role": "user", "content": prompt}],
                temperature=self._temperature,
                **extras,
            )
            return str(answer.choices[0].message.content or "")
        except (openai.BadRequestError, openai.UnprocessableEntityError) as problem:
            unknown = {name for name in extras if name in str(problem)}
            if not unknown:
                raise self._failure(problem) from None
            self._extras -= unknown
            return self._ask(prompt, seed)
        except openai.OpenAIError as problem:
            raise self._failure(problem) from None
        except (ValueError, AttributeError, TypeError, IndexError):
            raise ModelError(
                f"{self.url} does not answer as OpenAI's chat completions do; does its address end in /v1?"
            ) from None

    def _failure(self, problem: openai.OpenAIError) -> ModelError:
        import openai

        if isinstance(problem, openai.AuthenticationError | openai.PermissionDeniedError):
            return ModelError(
                f"{self.url} refuses the key ({problem.status_code}); put the right one into the environment variable OPENAI_API_KEY."
            )
        if isinstance(problem, openai.NotFoundError):
            return ModelError(
                f"{self.url} knows no model {self.model!r}, or its address is not the one before /chat/completions (404)."
            )
        if isinstance(problem, openai.APIStatusError):
            said = " ".join(problem.message.split())[:200]
            return ModelError(
                f"{self.url} answers {problem.status_code}: {said}. What was written is kept; run the same command again to go on."
            )
        return ModelError(
            f"{self.url} cannot be reached ({' '.join(str(problem).split())[:120].rstrip('.')}). "
            "Check the address; what was written is kept, and the same command goes on."
        )
