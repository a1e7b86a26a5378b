"""An archive asked by C-FIND (PS3.4 §C.4.1), Study Root."""

from __future__ import annotations

import logging
import socket
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset
from pynetdicom import AE
from pynetdicom.dsutils import encode

from streams.archive.asked import CHARSET, KEYS, MOST, STUDY, WAIT_S
from streams.errors import Reason, Unavailable

_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
_PENDING = frozenset({0xFF00, 0xFF01})


@dataclass(frozen=True)
class FindArchive:
    """Called as `title` at `host`:`port` by us, who are `own_title`."""

    title: str
    host: str
    port: int
    own_title: str

    def studies(self, since: date, until: date) -> Iterator[bytes]:
        """As `Archive.studies`."""
        logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)  # it quotes values
        ae = AE(ae_title=self.own_title)
        ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = ae.connection_timeout = WAIT_S
        ae.add_requested_context(_FIND)
        try:  # pynetdicom leaves a socket open where nobody listens
            socket.create_connection((self.host, self.port), WAIT_S).close()
        except OSError:
            raise Unavailable(Reason.ARCHIVE_DOWN, "connection") from None
        association = ae.associate(self.host, self.port, ae_title=self.title)
        if not association.is_established:
            raise Unavailable(Reason.ARCHIVE_DOWN, "association")
        try:
            answers = association.send_c_find(_query(since, until), _FIND)
            for count, (status, found) in enumerate(answers):
                code = status.get("Status")
                if code == 0:
                    association.release()
                    return
                if code not in _PENDING or found is None or count >= MOST:
                    raise Unavailable(Reason.ARCHIVE_DOWN, "C-FIND")
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # they quote values
                    data = encode(found, True, True) or b""
                yield data
        finally:
            if association.is_established:
                association.abort()  # who failed once need not answer a release


def _query(since: date, until: date) -> Dataset:
    query = Dataset()
    query.QueryRetrieveLevel = "STUDY"
    query.StudyDate = f"{since:%Y%m%d}-{until:%Y%m%d}"
    for tag in (STUDY, CHARSET, *KEYS):
        kind = dictionary_VR(tag)
        query.add_new(tag, kind, [] if kind == "SQ" else "")
    return query
