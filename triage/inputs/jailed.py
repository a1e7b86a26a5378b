"""The decoder process as it is started: what it decodes it also prepares for the network.

So neither costs the process that serves the networks more than the copy of what they read.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from pydantic import TypeAdapter

from streams.errors import Reason
from triage.decoding.child import serve
from triage.decoding.frames import Frame
from triage.errors import NotAnalysed
from triage.inputs.common import Array
from triage.inputs.prepare import prepare
from triage.packages.input_spec import AnyInput

_INPUT: TypeAdapter[AnyInput] = TypeAdapter(AnyInput)


def prepared(frames: Sequence[Frame], wanted: dict[str, Any]) -> Array:
    """`frames` as the input `wanted`, a manifest's [input] as JSON.

    Raises NotAnalysed (`bad_geometry`) for a frame too small, or in a unit that it cannot read.
    """
    try:
        return prepare(frames, _INPUT.validate_python(wanted))
    except ValueError:
        raise NotAnalysed(Reason.BAD_GEOMETRY) from None


if __name__ == "__main__":
    serve(sys.argv[1:], prepared)
