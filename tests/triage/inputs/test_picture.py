"""Pictures of every kind become the grey frame that a viewer would show."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from triage.inputs.common import LONGEST
from triage.inputs.picture import read_picture

MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")
Grey = NDArray[np.uint8]


@pytest.fixture(scope="module")
def grey() -> Grey:
    """Grey steps of 16 x 16 pixels: 96 rows, 64 columns, none like its mirror image."""
    return np.kron(
        np.random.default_rng(1).integers(0, 255, (6, 4), np.uint8), np.ones((16, 16), np.uint8)
    )


def written(grey: Grey, mode: str) -> Image.Image:
    if mode == "I;16":
        return Image.fromarray(grey.astype(np.uint16) * 257)
    return (
        Image.fromarray(grey).convert("RGB").quantize(256)
        if mode == "P"
        else Image.fromarray(grey).convert(mode)
    )


@pytest.mark.parametrize("mode", MODES[1:])
def test_the_same_picture_in_any_mode_is_the_same_frame(
    mode: str, grey: Grey, tmp_path: Path
) -> None:
    written(grey, mode).save(tmp_path / "a.png")
    frame = read_picture(tmp_path / "a.png")
    assert frame.unit == "display"
    assert np.abs(frame.pixels - grey / 255).max() < (0.02 if mode == "P" else 0.003)


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_a_jpeg_in_any_mode_is_the_same_frame(mode: str, grey: Grey, tmp_path: Path) -> None:
    Image.fromarray(grey).convert("RGB").convert(mode).save(tmp_path / "a.jpg", quality=95)
    assert np.abs(read_picture(tmp_path / "a.jpg").pixels - grey / 255).mean() < 0.01


def test_what_is_transparent_is_black(grey: Grey, tmp_path: Path) -> None:
    alpha = np.zeros_like(grey)
    alpha[:48] = 255
    Image.merge("LA", [Image.fromarray(grey), Image.fromarray(alpha)]).save(tmp_path / "la.png")
    Image.merge("RGBA", [*[Image.fromarray(grey)] * 3, Image.fromarray(alpha)]).save(
        tmp_path / "rgba.png"
    )
    palette = Image.fromarray(np.where(alpha > 0, 1, 0).astype(np.uint8), "P")
    palette.putpalette([255, 255, 255, 200, 200, 200])
    palette.save(tmp_path / "p.png", transparency=0)
    Image.fromarray(np.where(alpha > 0, 200, 255).astype(np.uint8)).save(
        tmp_path / "l.png", transparency=255
    )
    for name in ("la", "rgba"):
        assert (
            np.abs(read_picture(tmp_path / f"{name}.png").pixels - grey * (alpha > 0) / 255).max()
            < 0.003
        )
    for name in ("p", "l"):
        assert (
            np.abs(read_picture(tmp_path / f"{name}.png").pixels - (alpha > 0) * 200 / 255).max()
            < 0.003
        )


@pytest.mark.parametrize("bits", [9, 10, 12, 14, 16])
def test_a_picture_of_fewer_bits_than_its_file_is_as_bright(
    bits: int, grey: Grey, tmp_path: Path
) -> None:
    top = 2**bits - 1
    deep = (grey / grey.max() * top).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "a.png")
    assert np.abs(read_picture(tmp_path / "a.png").pixels - deep / top).max() < 0.01


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["jpg", "png"])
def test_a_picture_is_turned_as_its_exif_says(
    orientation: int, kind: str, grey: Grey, tmp_path: Path
) -> None:
    back = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}[
        orientation
    ]  # what a camera held so would have written
    picture = Image.fromarray(grey)
    picture = picture if back is None else picture.transpose(Image.Transpose(back))
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture.save(tmp_path / f"a.{kind}", exif=exif, **({"quality": 95} if kind == "jpg" else {}))
    pixels = read_picture(tmp_path / f"a.{kind}").pixels
    assert pixels.shape == grey.shape
    assert np.abs(pixels - grey / 255).mean() < 0.01


@pytest.mark.filterwarnings("ignore")
def test_a_broken_exif_block_does_not_hide_the_picture(grey: Grey, tmp_path: Path) -> None:
    Image.fromarray(grey).save(
        tmp_path / "a.jpg", quality=95, exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff broken"
    )
    assert np.abs(read_picture(tmp_path / "a.jpg").pixels - grey / 255).mean() < 0.01


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["png", "jpg"])
def test_a_huge_picture_is_made_smaller(kind: str, tmp_path: Path) -> None:
    half = np.zeros((6000, 9000), np.uint8)
    half[:, 4500:] = 255
    Image.fromarray(half).save(tmp_path / f"a.{kind}")
    pixels = read_picture(tmp_path / f"a.{kind}").pixels
    assert max(pixels.shape) <= LONGEST
    assert abs(pixels.shape[1] / pixels.shape[0] - 1.5) < 0.01
    assert (pixels[:, :5].max(), pixels[:, -5:].min()) == (0, 1)


@pytest.mark.slow
def test_a_bomb_is_refused(tmp_path: Path) -> None:
    Image.new("1", (20000, 20000)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match="more pixels"):
        read_picture(tmp_path / "a.png")


@pytest.mark.filterwarnings("ignore")
@settings(
    max_examples=6 * settings.default.max_examples // 5,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_a_damaged_file_is_told_or_shown_never_anything_else(
    grey: Grey, tmp_path: Path, data: st.DataObject
) -> None:
    into = BytesIO()
    kind = data.draw(st.sampled_from(["PNG", "JPEG"]))
    written(grey, data.draw(st.sampled_from(MODES if kind == "PNG" else ["L", "RGB"]))).save(
        into, kind
    )
    content = bytearray(into.getvalue())
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    (tmp_path / "a").write_bytes(content[: data.draw(st.integers(1, len(content)))])
    try:
        pixels = read_picture(tmp_path / "a").pixels
    except ValueError:
        return
    assert np.isfinite(pixels).all()
    assert pixels.min() >= 0
    assert pixels.max() <= 1
