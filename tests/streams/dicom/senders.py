"""Senders for the tests of the DICOM door: dcmtk's, pynetdicom's, and one of raw bytes."""

from __future__ import annotations

import os
import subprocess
from io import BytesIO
from types import SimpleNamespace
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import AE
from pynetdicom.dimse_primitives import C_STORE

from streams.dicom import part10

ENV = os.environ | {"TCP_NODELAY": "1"}


def storescu(port: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["storescu", "-aec", "VIGIE", "-v", *arguments[:-1], "127.0.0.1", str(port), arguments[-1]],
        env=ENV,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def send(
    port: int, *datasets: Dataset, context: str | None = None, title: str = "SCU"
) -> list[int]:
    """C-STORE of each in one association; the statuses."""
    ae = AE(ae_title=title)
    for sop_class in {str(ds.SOPClassUID) for ds in datasets} if context is None else {context}:
        ae.add_requested_context(sop_class, "1.2.840.10008.1.2.1")
    association = ae.associate("127.0.0.1", port, ae_title="VIGIE")
    assert association.is_established
    statuses = [association.send_c_store(ds).Status for ds in datasets]
    association.release()
    return statuses


def with_meta(dicom: SimpleNamespace, ds: Dataset) -> Dataset:
    """`ds`, after the meta header of a file was put on it."""
    dicom.file_of(ds)
    return ds


def raw_store(association: Any, file: part10.File, data: bytes) -> int:
    """C-STORE of bytes as they are, which pynetdicom's own sender would decode and encode anew."""
    request = C_STORE()
    request.MessageID, request.Priority = 1, 2
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = file.sop_class, file.sop_instance
    request.DataSet = BytesIO(data if len(data) % 2 == 0 else data + b"\0")
    association._reactor_checkpoint.clear()
    association.dimse.send_msg(request, association.accepted_contexts[0].context_id)
    _, answer = association.dimse.get_msg(block=True)
    association._reactor_checkpoint.set()
    return int(answer.Status)
