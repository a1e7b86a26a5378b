"""Key images: under names of ours, in a folder of their own, gone when their series goes."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from streams.errors import Park
from streams.settings import StreamsSettings
from streams.storage.key_images import KeyImageFolder, place_of
from streams.storage.store import Store

NAME = "12" * 8


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store", min_free=0.0)


@pytest.fixture
def folder(tmp_path: Path) -> KeyImageFolder:
    return KeyImageFolder(tmp_path / "key-images")


@pytest.fixture
def place(store: Store) -> str:
    """Of a series with one published instance."""
    made = store.folder("1.2", "1.2.3")
    store.put(made, "ab" * 8, b"pixels", lambda _: b"m")
    store.clear_marker(made, "ab" * 8)
    return place_of(made, NAME)


def test_what_was_put_is_read_and_screened_again_it_is_replaced(
    folder: KeyImageFolder, place: str
) -> None:
    for png in (b"one", b"two"):
        folder.put(place, png)
        assert folder.read(place) == png


def test_it_goes_when_the_pixels_went_and_not_before(
    store: Store, folder: KeyImageFolder, place: str, tmp_path: Path
) -> None:
    folder.put(place, b"png")
    assert folder.remove_without(tmp_path / "store") == 0
    assert folder.read(place) == b"png"
    assert store.remove_older_than(60, now=time.time() + 3600) == 1
    assert folder.remove_without(tmp_path / "store") == 1
    assert folder.read(place) is None
    assert list((tmp_path / "key-images").iterdir()) == []


def test_without_a_folder_there_is_nothing_to_remove(tmp_path: Path) -> None:
    assert KeyImageFolder(tmp_path / "nowhere").remove_without(tmp_path) == 0


@pytest.mark.parametrize("name", ["", "../../keys", "AB" * 8, NAME + "/x"])
def test_a_name_that_is_not_of_ours_is_refused(name: str) -> None:
    with pytest.raises(Park):
        place_of("ab" * 16 + "/" + "cd" * 16, name)


@pytest.mark.parametrize(
    "place", ["", "keys.json", "/etc/passwd", f"../{'ab' * 16}/key-{NAME}.png"]
)
def test_nothing_else_of_the_disk_is_read_or_written(tmp_path: Path, place: str) -> None:
    (tmp_path / "keys.json").write_text("secret")
    folder = KeyImageFolder(tmp_path)
    assert folder.read(place) is None
    with pytest.raises(Park):
        folder.put(place, b"png")


def test_a_link_out_of_the_folder_is_not_followed(
    folder: KeyImageFolder, place: str, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("secret")
    link = tmp_path / "key-images" / place
    link.parent.mkdir(parents=True)
    link.symlink_to(tmp_path / "secret")
    assert folder.read(place) is None
    with pytest.raises(Park):
        folder.put(place, b"png")
    assert (tmp_path / "secret").read_text() == "secret"


def test_pictures_wait_beside_the_store_wherever_a_process_was_started(tmp_path: Path) -> None:
    assert StreamsSettings(store=tmp_path / "store").key_images == tmp_path / "key-images"
    assert StreamsSettings(key_images=tmp_path / "own").key_images == tmp_path / "own"
