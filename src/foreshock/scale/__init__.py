"""The same work on Ray: a corpus read by many workers, a server of many replicas.

Raises:
    MissingExtra: Ray is not installed.
"""

from foreshock.errors import MissingExtra

try:
    import ray  # noqa: F401
except ImportError as problem:
    raise MissingExtra("Working on Ray needs ray; run pip install 'foreshock[scale]'.") from problem
