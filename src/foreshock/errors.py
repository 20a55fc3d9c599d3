"""Every error a user of Foreshock may meet. Catch `ForeshockError` to catch them all.

    ForeshockError            one sentence: what was wrong, what is expected, what to do
    ├── ModelError            a model cannot be opened, or is not one Foreshock can read
    │   ├── NotADecoder       no decoder-only language model, or its parts cannot be proved
    │   ├── NoChatTemplate    chat messages given to a model whose tokenizer has no template
    │   └── NotFinite         activations hold NaN or infinity
    ├── TextError             a text, message or file of texts cannot be read as asked
    │   └── TooLong           a text has more tokens than the model's context
    ├── UnknownEmotion        a word that is not in the catalogue; the nearest ones are named
    ├── VectorsError          a vectors file is damaged, of a newer format, or holds bad numbers
    │   └── WrongModel        vectors of one model, used on another
    ├── SteeringError         a steering that cannot be done: no such layer, span or row, or no strength
    ├── CalibrationError      rules or benign conversations that give no thresholds, or those of another model
    ├── MonitorError          a running model that cannot be watched as asked
    ├── StudyError            a study is asked for something it has not: an experiment, a findings file
    ├── ServerError           a request that the server cannot take now, or a setting that it cannot run with
    │   ├── Busy              as many requests run and wait as may
    │   └── TimedOut          a request took longer than the server lets it
    ├── ScaleError            Ray cannot be reached, has too little, or lost its workers
    ├── StoreError            a database of conversations cannot be opened, read or written
    ├── OutputError           a file or folder cannot be written
    └── MissingExtra          an optional dependency is not installed; the pip line is named

The command line prints the sentence without a traceback and exits with code 2.
"""

from __future__ import annotations


class ForeshockError(Exception):
    """Base of every error that is the user's to mend. Its text is one clear sentence or two."""


class ModelError(ForeshockError):
    """A model cannot be opened or read."""


class NotADecoder(ModelError):
    """The model is not a decoder-only language model whose anatomy could be proved."""


class NoChatTemplate(ModelError):
    """Chat messages were given, and the model's tokenizer has no chat template."""


class NotFinite(ModelError):
    """Activations came out as NaN or infinity."""


class TextError(ForeshockError):
    """A text, or a file of texts, is not what it has to be."""


class TooLong(TextError):
    """A text has more tokens than the model's context holds."""


class UnknownEmotion(ForeshockError):
    """A word that the catalogue of emotions does not know."""


class VectorsError(ForeshockError):
    """A vectors file cannot be used."""


class WrongModel(VectorsError):
    """Vectors of one model were used on another."""


class SteeringError(ForeshockError):
    """A steering cannot be done as asked."""


class CalibrationError(ForeshockError):
    """Thresholds cannot be had from these rules and conversations, or mean nothing here."""


class MonitorError(ForeshockError):
    """A running model cannot be watched as asked."""


class StudyError(ForeshockError):
    """A study is asked for something that it does not have."""


class ServerError(ForeshockError):
    """The server cannot take a request now, or cannot run as asked."""


class Busy(ServerError):
    """As many requests run and wait as may; ask again later."""


class TimedOut(ServerError):
    """A request took longer than the server lets it."""


class ScaleError(ForeshockError):
    """Work cannot be spread over Ray as asked."""


class StoreError(ForeshockError):
    """A database of conversations cannot be opened, read or written."""


class OutputError(ForeshockError):
    """A result could not be written; nothing half-written is left."""


class MissingExtra(ForeshockError):
    """An optional part of Foreshock is needed and not installed."""
