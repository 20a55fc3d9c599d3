"""A user's own ratings of words: Warriner et al. 2013 or NRC-VAD files, or any table with the same columns.

Their licences forbid shipping them, so Foreshock reads the copy a user has.
"""

from __future__ import annotations

from pathlib import Path

import polars

from foreshock.emotions import catalogue
from foreshock.errors import TextError

_COLUMNS = {
    "word": ("word", "term", "english word"),
    "valence": ("valence", "v.mean.sum", "val"),
    "arousal": ("arousal", "a.mean.sum", "aro"),
}


def load_norms(path: Path) -> dict[str, dict[str, float | None]]:
    """Valence and arousal of the catalogue's words that the file rates.

    Args:
        path: a .csv, or tab-separated .tsv or .txt, with a word column and valence and arousal columns, named as in the
            files of Warriner et al. (`Word`, `V.Mean.Sum`, `A.Mean.Sum`) or NRC-VAD (`term`, `valence`, `arousal`).

    Raises:
        TextError: missing, unreadable, without these columns, or without any word of the catalogue.
    """
    if not path.is_file():
        raise TextError(f"There is no ratings file {path}; give the path of a CSV or tab-separated table.")
    try:
        table = polars.read_csv(
            path, separator="," if path.suffix.lower() == ".csv" else "\t", infer_schema_length=10_000
        )
    except polars.exceptions.PolarsError as problem:
        raise TextError(f"{path} is not a table that can be read ({str(problem).splitlines()[0]}).") from problem
    named = {name.strip().lower(): name for name in table.columns}
    found = {want: next((named[n] for n in names if n in named), None) for want, names in _COLUMNS.items()}
    if None in found.values():
        raise TextError(
            f"{path} has the columns {', '.join(table.columns)}; it needs word (or term), valence and arousal."
        )
    known = catalogue()
    rows = table.select(found.values()).iter_rows()
    rated = {str(word).lower(): (valence, arousal) for word, valence, arousal in rows if str(word).lower() in known}
    if not rated:
        raise TextError(f"{path} rates none of the catalogue's {len(known)} words; is its word column right?")
    return {
        axis: {word: float(pair[k]) for word, pair in rated.items() if pair[k] is not None}
        for k, axis in enumerate(("valence", "arousal"))
    }
