"""Alarms posted to a web address: signed, sent again when that fails, and never in the way of the model.

Each request carries `X-Foreshock-Signature: t=SECONDS,v1=HEX`, an HMAC-SHA256 of `SECONDS.BODY` under the shared secret.
The receiver checks it with `genuine`, or with the same five lines in another language.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import queue
import re
import threading
import time
from types import TracebackType

import urllib3

from foreshock.errors import OutputError
from foreshock.monitor.alarms import line
from foreshock.monitor.store.records import Alarm

HEADER = "X-Foreshock-Signature"
TRIES = 8
"""Times that a failed request is sent again, after 0, 0.4, 0.8 … seconds: about a minute in all."""
_log = logging.getLogger(__name__)


def signature(secret: str, seconds: int, body: bytes) -> str:
    """The header's value for a body that was signed at `seconds` since 1970."""
    digest = hmac.new(secret.encode(), f"{seconds}.".encode() + body, hashlib.sha256)
    return f"t={seconds},v1={digest.hexdigest()}"


def genuine(secret: str, header: str, body: bytes, tolerance: int = 300) -> bool:
    """Whether a request was signed with this secret, within `tolerance` seconds from now (for the receiver)."""
    found = re.fullmatch(r"t=(\d{1,12}),v1=[0-9a-f]{64}", header)
    if not found or abs(time.time() - int(found[1])) > tolerance:
        return False
    return hmac.compare_digest(header, signature(secret, int(found[1]), body))


class Webhook:
    """A sink that posts each alarm as JSON, from a thread of its own.

        with Webhook("https://example.org/alarms", secret) as webhook:
            for alarm in scan(readings, calibration): webhook(alarm)

    Args:
        url: `https://…`, or `http://…` within your own network: alarms quote what was written.
        room: alarms that may wait; when there are more, the oldest are dropped and counted in `lost`.

    Raises:
        OutputError: `url` is no web address, or the secret is empty.
    """

    def __init__(self, url: str, secret: str, room: int = 1000) -> None:
        if not re.match(r"https?://[^/\s]", url):
            raise OutputError(f"{url!r} is no web address; give one like https://example.org/alarms.")
        if not secret:
            raise OutputError(
                "A webhook needs a secret that its receiver knows too; give one of 32 characters or more."
            )
        self._url, self._secret = url, secret
        again = urllib3.Retry(
            TRIES,
            backoff_factor=0.2,
            status_forcelist=(429, 500, 502, 503, 504),
            allowed_methods=None,
            redirect=False,
            respect_retry_after_header=False,
        )
        self._http = urllib3.PoolManager(retries=again, timeout=urllib3.Timeout(10))
        self._waiting: queue.Queue[Alarm | None] = queue.Queue(max(1, room))
        self.lost = 0
        """Alarms that were dropped from a full queue or refused by the receiver."""
        self._thread = threading.Thread(target=self._send_all, name="foreshock-webhook", daemon=True)
        self._thread.start()

    def __call__(self, alarm: Alarm) -> None:
        """Queue an alarm; returns at once."""
        self._put(alarm)

    def close(self, patience: float = 10) -> None:
        """Send what still waits, for at most `patience` seconds."""
        self._put(None)
        self._thread.join(patience)

    def __enter__(self) -> Webhook:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _put(self, item: Alarm | None) -> None:
        while True:
            try:
                return self._waiting.put_nowait(item)
            except queue.Full:
                try:
                    self._waiting.get_nowait()
                    self.lost += 1
                except queue.Empty:
                    pass

    def _send_all(self) -> None:
        while (alarm := self._waiting.get()) is not None:
            try:
                self._send(line(alarm).encode())
            except (urllib3.exceptions.HTTPError, OSError) as problem:
                self.lost += 1
                # The reason only: the address may hold a secret of its own.
                _log.error("An alarm could not be posted to the webhook: %s", getattr(problem, "reason", problem))

    def _send(self, body: bytes) -> None:
        headers = {"Content-Type": "application/json", HEADER: signature(self._secret, int(time.time()), body)}
        answer = self._http.request("POST", self._url, body=body, headers=headers)
        if answer.status >= 300:
            raise urllib3.exceptions.HTTPError(f"the receiver answered {answer.status}")
