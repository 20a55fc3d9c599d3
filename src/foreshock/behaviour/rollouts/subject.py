"""A study's model and vectors, opened once for a process, and what is read in its replies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
import transformers
from jaxtyping import Float

from foreshock.behaviour.rollouts.batching import Gathered
from foreshock.behaviour.rollouts.writing import Request, Written, write
from foreshock.errors import StudyError
from foreshock.model import LanguageModel, open_model
from foreshock.model.opening import Dtype
from foreshock.readings import project
from foreshock.vectors import EmotionVectors


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply with its readings. It is read as the unsteered model reads it, so what steering adds is not read back."""

    written: Written
    readings: Float[np.ndarray, " emotion"] | None
    """Mean over the reply's tokens at the reading layer, in the order of the vectors; None for an empty reply."""
    surprise: float | None
    """Mean surprise of the unsteered model at the reply, in nats a token: more for broken text, less for a loop."""


class RolloutSubject:
    """A model that answers requests in batches, and reads its answers."""

    def __init__(self, model: LanguageModel, vectors: EmotionVectors) -> None:
        vectors.check_model(model.fingerprint, model.name)
        self.model, self.vectors = model, vectors
        self.answer: Gathered[Request, Reply] = Gathered(self._answer)
        """Awaited with a request, gives its reply."""

    def _answer(self, requests: Sequence[Request]) -> list[Reply]:
        return self._read(requests, write(self.model, requests))

    @torch.inference_mode()
    def _read(self, requests: Sequence[Request], written: Sequence[Written]) -> list[Reply]:
        readout, last = self.vectors.readout(), self.model.layers - 1
        texts = [request.prompt.ids + reply.ids for request, reply in zip(requests, written, strict=True)]
        replies = [Reply(reply, None, None) for reply in written]
        for batch in self.model.batches(texts):
            hidden = self.model.residuals(batch, [readout.layer, last])
            for place, row in enumerate(batch.rows):
                first, end = len(requests[row].prompt), len(texts[row])
                if not written[row].text:
                    continue
                values = project(readout, hidden[readout.layer][place, first:end].float().cpu().numpy())
                logits = self.model.logits(hidden[last][place : place + 1, first - 1 : end - 1])[0]
                surprise = torch.nn.functional.cross_entropy(logits, batch.ids[place, first:end].to(logits.device))
                replies[row] = Reply(written[row], values.mean(0), float(surprise))
        return replies


def find_vectors(name: str) -> Path:
    """The vectors file that a name means: a file, a study's folder, or the name of a folder in `study/`.

    Raises:
        StudyError: there is none.
    """
    for path in (Path(name).expanduser(), Path("study") / name):
        if path.is_file():
            return path
        if (path / "vectors.safetensors").is_file():
            return path / "vectors.safetensors"
    raise StudyError(
        f"There is no study at {name!r}; give a study's folder or its vectors.safetensors, "
        "e.g. --model foreshock/study/embedded (`foreshock study` makes one)."
    )


def opened(name: str, model: str | None, dtype: Dtype, device: str | None) -> RolloutSubject:
    """The subject of a study; the same one for the same words within a process, so its weights are loaded once.

    Args:
        model: where the model lies now, when it is elsewhere than when the study was made.

    Raises:
        StudyError: there is no such study. VectorsError, ModelError: it cannot be opened.
    """
    path = find_vectors(name).resolve()
    return _opened(path, path.stat().st_mtime_ns, model, dtype, device)


@cache
def _opened(path: Path, _changed: int, model: str | None, dtype: Dtype, device: str | None) -> RolloutSubject:
    transformers.utils.logging.disable_progress_bar()  # Inspect has the screen
    vectors = EmotionVectors.load(path)
    return RolloutSubject(open_model(model or vectors.manifest.get("model", {}).get("name"), dtype, device), vectors)
