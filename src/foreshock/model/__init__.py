"""A language model opened for reading and writing its residual stream."""

from foreshock.model.chat import Tokens
from foreshock.model.language_model import LanguageModel
from foreshock.model.opening import EMBEDDED, open_model
from foreshock.model.stream import EMBEDDING, Site

__all__ = ["EMBEDDED", "EMBEDDING", "LanguageModel", "Site", "Tokens", "open_model"]
