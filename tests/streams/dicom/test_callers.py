"""Who may call at the DICOM door, and that nobody can keep others out."""

from __future__ import annotations

import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pynetdicom import AE

from streams import metrics
from streams.dicom.door import DicomDoor
from streams.dicom.upper import association, pdu
from streams.errors import Misconfigured, Reason, Refuse
from streams.identity.seal import KeyRing
from streams.kafka.produce import Publisher
from tests.streams.certificates import Authority
from tests.streams.dicom.senders import ENV, send, storescu, with_meta
from tests.streams.dicom.upper.caller import request

Open = Callable[..., DicomDoor]


@pytest.fixture
def opened(
    tmp_path: Path, own_broker: str, dicom: SimpleNamespace, ring: KeyRing
) -> Iterator[Open]:
    """Opens doors with settings of their own."""
    doors: list[tuple[DicomDoor, Publisher]] = []

    def open_door(site: Any = None, **more: object) -> DicomDoor:
        settings = dicom.settings(tmp_path, own_broker, **more)
        publisher = Publisher(settings)
        door = DicomDoor(settings, site or dicom.Site(), ring, publisher)
        doors.append((door, publisher))
        door.start()
        return door

    yield open_door
    for door, publisher in doors:
        door.stop()
        publisher.close()


def refused(reason: Reason) -> float:
    return metrics.refused.labels("dicom", reason.value)._value.get()


@contextmanager
def counted(reason: Reason, capsys: pytest.CaptureFixture[str]) -> Iterator[None]:
    """One refusal is counted, and one line says why."""
    before = refused(reason)
    capsys.readouterr()
    yield
    deadline, said = time.monotonic() + 5, ""
    # The door counts in a thread of its own, and writes its line after that.
    while time.monotonic() < deadline and not (
        refused(reason) > before and any(_says(line, reason) for line in said.splitlines())
    ):
        time.sleep(0.01)
        said += "".join(capsys.readouterr())
    assert refused(reason) == before + 1
    assert sum(_says(line, reason) for line in said.splitlines()) == 1


def _says(line: str, reason: Reason) -> bool:
    return all(word in line for word in ("refused", reason.value, "127.0.0.1"))


def test_a_stranger_is_rejected_before_it_can_send(
    door: DicomDoor, dicom: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    ae = AE(ae_title="STRANGER")
    ae.add_requested_context(dicom.CT)
    with counted(Reason.UNKNOWN_SENDER, capsys):
        calling = ae.associate("127.0.0.1", door.port, ae_title="VIGIE")
    assert calling.is_rejected
    rejection = calling.acceptor.primitive
    assert (rejection.result, rejection.result_source, rejection.diagnostic) == (1, 1, 3)


def test_who_means_another_ae_is_rejected_and_told_so(
    door: DicomDoor, dicom: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    ae = AE(ae_title="CT1")
    ae.add_requested_context(dicom.CT)
    with counted(Reason.WRONG_CALLED_AE, capsys):
        calling = ae.associate("127.0.0.1", door.port, ae_title="PACS")
    assert calling.is_rejected
    assert calling.acceptor.primitive.diagnostic == 7


@pytest.mark.needs("echoscu")
@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["-aec", "VIGIE"], 0), (["-aec", "PACS"], 1), (["-aec", "VIGIE", "-aet", "STRANGER"], 1)],
)
def test_an_echo_is_answered_to_those_who_may_call_alone(
    door: DicomDoor, arguments: list[str], code: int
) -> None:
    command = ["echoscu", *arguments, "127.0.0.1", str(door.port)]
    assert subprocess.run(command, env=ENV, capture_output=True, check=False).returncode == code


@pytest.mark.parametrize(
    ("called", "calling"),
    [
        (b"VIGIE".ljust(16, b"\0"), b"CT1".ljust(16)),
        (b"VIGIE".ljust(16), b" " * 16),
        (b"VIGIE".ljust(16), b"\xc0\xb3`I\xfc\x7f".ljust(16)),
    ],
)
def test_padded_blank_and_binary_titles_are_taken_by_policy(
    door: DicomDoor, called: bytes, calling: bytes
) -> None:
    with socket.create_connection(("127.0.0.1", door.port), timeout=5) as connection:
        connection.sendall(request(called=called, calling=calling))
        assert connection.recv(1) == b"\x02"


def test_bytes_above_7f_in_the_user_information_are_nobody_s_concern(
    door: DicomDoor,
) -> None:
    odd = b"\x55\x00\x00\x02\xe9\xe9" + b"\x58\x00\x00\x03\xff\x00\x80"
    with socket.create_connection(("127.0.0.1", door.port), timeout=5) as connection:
        connection.sendall(request(user=odd))
        assert connection.recv(1) == b"\x02"


def test_a_refused_image_s_answer_says_why(
    door: DicomDoor, dicom: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    ae = AE(ae_title="CT1")
    ae.add_requested_context(dicom.CT, "1.2.840.10008.1.2.1")
    calling = ae.associate("127.0.0.1", door.port, ae_title="VIGIE")
    with counted(Reason.BAD_UID, capsys):
        answer = calling.send_c_store(with_meta(dicom, dicom.image(StudyInstanceUID="")))
    calling.release()
    assert (answer.Status, answer.ErrorComment) == (0xC000, "bad_uid at 0020000D")


def test_sixty_half_association_requests_keep_nobody_out(
    opened: Open, dicom: SimpleNamespace
) -> None:
    door = opened()
    half = request()[:40]
    silent = [socket.create_connection(("127.0.0.1", door.port)) for _ in range(100)]
    for connection in silent:
        connection.sendall(half)
    began = time.monotonic()
    assert send(door.port, with_meta(dicom, dicom.image())) == [0]
    assert time.monotonic() - began < association.REQUEST_S / 2
    for connection in silent:
        connection.close()


def test_half_a_request_is_given_up_soon(
    opened: Open, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(association, "REQUEST_S", 0.3)
    monkeypatch.setattr("streams.dicom.upper.listener.REQUEST_S", 0.3)
    door = opened()
    with (
        counted(Reason.TOO_SLOW, capsys),
        socket.create_connection(("127.0.0.1", door.port), timeout=5) as slow,
    ):
        slow.sendall(request()[:40])
        assert slow.recv(1) == b""


def test_probes_that_connect_and_close_keep_nobody_out(
    opened: Open, dicom: SimpleNamespace
) -> None:
    door = opened(dicom_connections=5)
    for _ in range(300):
        socket.create_connection(("127.0.0.1", door.port)).close()
    assert send(door.port, with_meta(dicom, dicom.image())) == [0]


def test_more_associations_than_one_caller_may_have_are_rejected_for_now(
    opened: Open, dicom: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    door = opened(dicom_connections_each=2)
    ae = AE(ae_title="CT1")
    ae.add_requested_context(dicom.CT)
    kept = [ae.associate("127.0.0.1", door.port, ae_title="VIGIE") for _ in range(2)]
    with counted(Reason.OVERLOADED, capsys):
        third = ae.associate("127.0.0.1", door.port, ae_title="VIGIE")
    assert third.is_rejected
    assert (third.acceptor.primitive.result, third.acceptor.primitive.diagnostic) == (2, 2)
    other = AE(ae_title="CT2")
    other.add_requested_context(dicom.CT)
    another = other.associate("127.0.0.1", door.port, ae_title="VIGIE")
    assert another.is_established
    for calling in (*kept, another):
        calling.release()
    assert send(door.port, with_meta(dicom, dicom.image()), title="CT1") == [0]


def test_a_silent_association_is_ended(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(association, "_SILENCE_S", 0.2)
    door = opened(dicom_idle_s=0.3)
    with socket.create_connection(("127.0.0.1", door.port), timeout=5) as silent:
        silent.sendall(request())
        answer = b""
        while piece := silent.recv(4096):
            answer += piece
    assert answer.endswith(pdu.abort(6))


def test_what_is_too_large_is_read_to_its_end_and_told(
    opened: Open, dicom: SimpleNamespace
) -> None:
    door = opened(dicom_max_bytes=100_000)
    large = dicom.image(1, PixelData=bytes(400_000))
    assert send(
        door.port, with_meta(dicom, large), with_meta(dicom, dicom.image(2)), title="CT1"
    ) == [0xC000, 0]
    assert list((door.store._root / "arriving").iterdir()) == []


def test_a_caller_that_dies_within_an_image_leaves_nothing(
    opened: Open, dicom: SimpleNamespace
) -> None:
    door = opened()
    for _ in range(20):
        connection = socket.create_connection(("127.0.0.1", door.port), timeout=5)
        connection.sendall(request())
        assert connection.recv(4096)[:1] == b"\x02"
        connection.sendall(store_begun(dicom.CT))
        connection.close()
    assert send(door.port, with_meta(dicom, dicom.image())) == [0]
    deadline = time.monotonic() + 5
    while list((door.store._root / "arriving").iterdir()) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert list((door.store._root / "arriving").iterdir()) == []


def store_begun(sop_class: str) -> bytes:
    """The command of a C-STORE and the first bytes of its data set."""
    from pynetdicom.dimse_messages import C_STORE_RQ
    from pynetdicom.dimse_primitives import C_STORE

    primitive = C_STORE()
    primitive.MessageID, primitive.Priority = 1, 2
    primitive.AffectedSOPClassUID, primitive.AffectedSOPInstanceUID = sop_class, "1.2.3.4.1"
    message = C_STORE_RQ()
    message.primitive_to_message(primitive)
    from pynetdicom.dsutils import encode

    body = encode(message.command_set, True, True) or b""
    return pdu.command(1, body, 0) + pdu.HEAD.pack(4, 1000) + bytes([0, 0, 3, 226, 1, 0]) + b"x"


class TestTls:
    """The door's own certificate and CA."""

    @pytest.fixture
    def authority(self, tmp_path: Path) -> Authority:
        return Authority(tmp_path, "of-the-dicom-door")

    @pytest.fixture
    def settings(self, authority: Authority) -> dict[str, Path]:
        certificate, key = authority.issue("vigie")
        return {
            "dicom_tls_cert": certificate,
            "dicom_tls_key": key,
            "dicom_tls_ca": authority.file,
        }

    @pytest.mark.needs("storescu")
    def test_dcmtk_sends_with_a_certificate_of_the_door_s_ca(
        self,
        opened: Open,
        authority: Authority,
        settings: dict[str, Path],
        tmp_path: Path,
        dicom: SimpleNamespace,
    ) -> None:
        door, (certificate, key) = opened(**settings), authority.issue("scanner")
        file = tmp_path / "one.dcm"
        file.write_bytes(dicom.file_of(dicom.image()))
        protected = ["+tls", str(key), str(certificate), "+cf", str(authority.file)]
        result = storescu(door.port, *protected, str(file))
        assert result.returncode == 0, result.stderr
        assert storescu(door.port, str(file)).returncode != 0  # in clear

    def test_a_certificate_of_another_door_opens_nothing(
        self,
        opened: Open,
        authority: Authority,
        settings: dict[str, Path],
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        other = Authority(tmp_path / "other", "of-the-mllp-door").issue("ris")
        door = opened(**settings)
        with (
            counted(Reason.BAD_CERTIFICATE, capsys),
            pytest.raises((ssl.SSLError, ConnectionError)),
        ):
            ask_protected(door.port, authority, *other)

    def test_a_certificate_speaks_only_for_the_sender_that_names_it(
        self,
        opened: Open,
        authority: Authority,
        settings: dict[str, Path],
        dicom: SimpleNamespace,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        sender = dicom.Sender(certificates=("scanner",))
        site = SimpleNamespace(
            authorities=dicom.Site.authorities, sender_for_ae=lambda title, address: sender
        )
        door = opened(site, **settings)
        right, wrong = authority.issue("scanner"), authority.issue("printer")
        assert ask_protected(door.port, authority, *right)[:1] == b"\x02"
        with counted(Reason.NOT_AUTHORISED, capsys):
            assert ask_protected(door.port, authority, *wrong)[:1] == b"\x03"

    def test_a_door_that_is_half_protected_does_not_open(
        self, opened: Open, settings: dict[str, Path]
    ) -> None:
        for left_out in settings:
            given = {name: path for name, path in settings.items() if name != left_out}
            with pytest.raises(Misconfigured, match="VIGIE_DICOM_TLS"):
                opened(**given)


def ask_protected(port: int, authority: Authority, cert: Path, key: Path) -> bytes:
    """What an association request is answered under TLS."""
    context = ssl.create_default_context(cafile=authority.file)
    context.load_cert_chain(cert, key)
    with (
        socket.create_connection(("127.0.0.1", port), timeout=5) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as protected,
    ):
        protected.sendall(request())
        answer = protected.recv(4096)
        if not answer:
            raise ConnectionError("closed")
        return answer


def test_a_listed_sender_has_its_address(opened: Open, dicom: SimpleNamespace) -> None:
    def sender_for_ae(title: str, address: str) -> Any:
        if f"{title}@{address}" != "CT1@127.0.0.1":
            raise Refuse(Reason.UNKNOWN_SENDER)
        return dicom.Sender()

    site = SimpleNamespace(authorities=dicom.Site.authorities, sender_for_ae=sender_for_ae)
    door = opened(site)
    assert send(door.port, with_meta(dicom, dicom.image()), title="CT1") == [0]
    ae = AE(ae_title="CT2")
    ae.add_requested_context(dicom.CT)
    assert ae.associate("127.0.0.1", door.port, ae_title="VIGIE").is_rejected
