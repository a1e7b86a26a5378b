"""The values of a header's elements, each converted once for all slices that say the same."""

from __future__ import annotations

import struct
from contextlib import suppress
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement, convert_raw_data_element
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException
from pydicom.tag import BaseTag

#: What pydicom raises on a value that is none: OSError where a sequence ends within an item,
#: NotImplementedError for a VR that it does not know.
BROKEN_VALUE = (
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    NotImplementedError,
    OSError,
    ArithmeticError,
    struct.error,
    BytesLengthException,
)
# Slices of a series say the same in most elements, and pydicom takes as long to convert twenty
# values as to read the whole header. What is kept is bounded whatever the files hold: about 3 MB.
_MOST_VALUES = 2048
_MOST_BYTES = 128  # of one value: longer ones are no numbers and no words of a rule

#: Tag, VR, the bytes, whether they are little endian, and the character sets: all that pydicom
#: makes a value of.
_Stated = tuple[BaseTag, str, bytes, bool, tuple[str, ...]]


def value_of(dataset: Dataset, name: str, default: Any = None) -> Any:
    """As `dataset.get(name, default)`, and raises as that does. Not to be changed: it is shared."""
    known = _known(name)
    if known is None or known[0] not in dataset:
        return default
    stated = _stated(dataset, *known)
    if stated is not None:
        with suppress(*BROKEN_VALUE):  # pydicom says how this one is broken
            return _value(stated)
    return dataset.get(name, default)


def numbers_of(dataset: Dataset, name: str) -> NDArray[np.float64] | None:
    """All values, float64 [values], read-only; None where there are none.

    Raises what pydicom and numpy do where they are no numbers.
    """
    known = _known(name)
    if known is None or known[0] not in dataset:
        return None
    stated = _stated(dataset, *known)
    if stated is not None:
        with suppress(*BROKEN_VALUE):
            return _stated_numbers(stated)
    return _numbers(dataset.get(name))


@lru_cache(maxsize=256)  # the names that we ask for; a header's modality may make up others
def _known(name: str) -> tuple[BaseTag, str] | None:
    """Tag and VR of a keyword; None for what is none."""
    tag = tag_for_keyword(name)
    return None if tag is None else (BaseTag(tag), dictionary_VR(tag))


def _stated(dataset: Dataset, tag: BaseTag, vr: str) -> _Stated | None:
    """What an element says where its value depends on nothing else, and is short.

    None for a sequence, for "US or SS", for another VR than the dictionary's, and for what is
    converted already.
    """
    element = dataset.get_item(tag, keep_deferred=True)
    if not isinstance(element, RawDataElement) or vr == "SQ" or len(vr) > 2:
        return None
    value, sets = element.value, dataset.original_character_set
    if element.VR not in (None, vr) or not sets or value is None or len(value) > _MOST_BYTES:
        return None
    return tag, vr, value, element.is_little_endian, (sets,) if isinstance(sets, str) else (*sets,)


@lru_cache(maxsize=_MOST_VALUES)
def _value(stated: _Stated) -> Any:
    tag, vr, value, little_endian, character_sets = stated
    raw = RawDataElement(tag, vr, len(value), value, 0, False, little_endian)
    return convert_raw_data_element(raw, encoding=[*character_sets]).value


@lru_cache(maxsize=_MOST_VALUES)
def _stated_numbers(stated: _Stated) -> NDArray[np.float64] | None:
    return _numbers(_value(stated))


def _numbers(value: Any) -> NDArray[np.float64] | None:
    if value is None or value == "":
        return None
    many = np.atleast_1d(np.asarray(value, dtype=np.float64))
    many.flags.writeable = False  # it is shared
    return many
