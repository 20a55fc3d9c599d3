"""A plug-in for vLLM (entry point group `vllm.general_plugins`): readings and steering a request, in mixed batches.

    FORESHOCK_VECTORS=study/vectors.safetensors vllm serve MODEL --enforce-eager

vLLM calls `register` in each of its processes. In the front it checks what requests ask for and keeps their prefix caches
apart; in the workers it puts a `Board` on the model. See docs/vllm.md for what was tested and where it ends.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from foreshock.errors import ForeshockError, ServerError
from foreshock.interop.vllm_board import Board
from foreshock.interop.vllm_request import NAME, added, asked, check_fits
from foreshock.vectors import EmotionVectors

VECTORS = "FORESHOCK_VECTORS"
READING_LAYER = "FORESHOCK_READING_LAYER"
STEERING_LAYER = "FORESHOCK_STEERING_LAYER"
_log = logging.getLogger(__name__)


def register() -> None:
    """Prepare this process of vLLM; does nothing where `FORESHOCK_VECTORS` is not set.

    Raises:
        VectorsError: the vectors file cannot be used.
    """
    path = os.environ.get(VECTORS)
    if not path:
        _log.debug("%s is not set; Foreshock does nothing here.", VECTORS)
        return
    vectors = EmotionVectors.load(path)
    os.environ.setdefault("VLLM_USE_V2_MODEL_RUNNER", "0")  # the other runner keeps its batch elsewhere
    _check_requests(vectors)
    _extend_workers(vectors)


def _check_requests(vectors: EmotionVectors) -> None:
    """Have what a request asks for checked, and made ready, where it enters vLLM."""
    from vllm.exceptions import VLLMValidationError
    from vllm.v1.engine.input_processor import InputProcessor

    class BadRequest(ServerError, VLLMValidationError):  # type: ignore[misc]  # vLLM is not installed where types are checked
        """What is wrong with a request; vLLM's server answers with its sentence and code 400."""

    _, steering = layers(vectors)
    original = InputProcessor.process_inputs
    if getattr(original, "is_foreshock", False):
        return

    def process_inputs(self: Any, request_id: str, *args: Any, **kwargs: Any) -> Any:
        request = original(self, request_id, *args, **kwargs)
        params = request.sampling_params
        try:
            found = asked(params.extra_args if params else None, vectors)
            if found is not None and found.steer:
                check_fits(added(found.steer, vectors, steering), torch.finfo(self.model_config.dtype).max)
        except ForeshockError as problem:
            raise BadRequest(str(problem)) from problem
        if found is None:
            return request
        if found.readings and params.n > 1:
            raise BadRequest("Readings are of one reply; ask for n = 1, several times.")
        params.extra_args = {**params.extra_args, NAME: replace(found, id=request_id).to_json()}
        request.cache_salt = found.salt(request.cache_salt)
        if found.readings and found.prompt:
            params.skip_reading_prefix_cache = True
        return request

    process_inputs.is_foreshock = True  # type: ignore[attr-defined]
    InputProcessor.process_inputs = process_inputs


def _extend_workers(vectors: EmotionVectors) -> None:
    """Give every worker a board once its model is loaded, and a call that hands readings out."""
    from vllm.v1.worker.worker_base import WorkerWrapperBase

    def load_model(self: Any, *args: Any, **kwargs: Any) -> Any:
        loaded = self.worker.load_model(*args, **kwargs)
        reading, steering = layers(vectors)
        self.foreshock_board = Board(self.worker.model_runner, vectors, reading, steering)
        name = vectors.manifest.get("model", {}).get("name", "an unnamed model")
        _log.info("Foreshock reads after layer %d and steers after layer %d; vectors of %s.", reading, steering, name)
        return loaded

    def take(self: Any, ids: Sequence[str]) -> list[dict[str, Any]]:
        return self.foreshock_board.take(ids)

    WorkerWrapperBase.load_model = load_model
    WorkerWrapperBase.foreshock_take = take


def layers(vectors: EmotionVectors) -> tuple[int, int]:
    """The layer that is read and the one that is steered: the study's, unless the environment names others.

    Raises:
        ServerError: the environment names no number.
    """
    measured = vectors.reading_layer if vectors.steering_layer is None else vectors.steering_layer
    try:
        return int(os.environ.get(READING_LAYER, vectors.reading_layer)), int(os.environ.get(STEERING_LAYER, measured))
    except ValueError as problem:
        raise ServerError(f"{READING_LAYER} and {STEERING_LAYER} are numbers of layers ({problem}).") from problem
