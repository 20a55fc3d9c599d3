"""The planted directions as vectors."""

from tests.monitor.conftest import vectors  # noqa: F401
