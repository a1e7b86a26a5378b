"""The check of a GPU goes on after a part that failed."""

from __future__ import annotations

import time
from typing import Any

import pytest
import torch

from streams.errors import Reason, Unavailable
from triage.bench.gpu import Report


def test_decoders_that_do_not_start_fail_their_check_and_no_other(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def decoders() -> tuple[bool, dict[str, Any]]:
        raise Unavailable(Reason.OVERLOADED, "decoder")

    report = Report(time.monotonic() + 60, torch.device("cpu"))
    report.check("fed by the jail", decoders)
    report.check("next", lambda: (True, {}))
    assert [one["result"] for one in report.checks] == ["FAIL", "pass"]
    assert "decoder" in capsys.readouterr().out
