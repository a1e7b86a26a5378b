"""The listening side of pynetdicom, kept quiet and bounded: no values in logs, no endless PDU."""

from __future__ import annotations

import logging
import socket
from typing import Any

from pynetdicom import _config
from pynetdicom.transport import RequestHandler

from streams import metrics
from streams.errors import Reason

MAX_PDU = 128 * 1024  # bytes


def quiet() -> None:
    """pynetdicom's own settings are of the process. Its log lines quote what senders send (promise
    8).
    """
    _config.UNRESTRICTED_STORAGE_SERVICE = True
    _config.LOG_HANDLER_LEVEL = "none"
    _config.LOG_REQUEST_IDENTIFIERS = _config.LOG_RESPONSE_IDENTIFIERS = False
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)


def handler(max_bytes: int, max_connections: int) -> type[RequestHandler]:
    """A request handler whose connections answer at once (no Nagle) and read no more than is
    allowed.
    """

    class Handler(RequestHandler):
        def handle(self) -> None:
            if len(self.server.active_associations) >= max_connections:
                # up to the limit an association is rejected politely, from here on nobody is
                self.request.close()
                return
            super().handle()

        def _create_association(self) -> Any:
            self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            association: Any = super()._create_association()
            connection = association.dul.socket
            receive = connection.recv

            def bounded(length: int) -> bytearray:
                message = association.dimse.message
                held = message.data_set.tell() if message is not None else 0
                # A PDU header may claim 4 GiB (PS3.8 §9.3); ours said how long a PDU may be.
                if length > 2 * MAX_PDU or held > max_bytes:
                    metrics.refused.labels("dicom", Reason.TOO_LARGE.value).inc()
                    raise ConnectionAbortedError("more than was negotiated")
                return bytearray(receive(length))

            connection.recv = bounded
            return association

    return Handler
