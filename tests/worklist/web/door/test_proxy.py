"""Behind a real TLS proxy of another name: readers log in and act, cookies are Secure, the stream
passes, and what the proxy says of addresses counts.
"""

from __future__ import annotations

import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Engine

from infra.embedded import free_port
from streams.identity.seal import KeyRing
from tests.worklist.conftest import Feed, Make
from tests.worklist.web_client import TOKENS, serving, wait_for, web_settings

pytestmark = pytest.mark.needs("nginx")
CONFIGURATION = """
daemon off; pid {folder}/pid; error_log {folder}/error.log; user root;
events {{ worker_connections 64; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port} ssl;
    ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/key.pem;
    location / {{
      proxy_pass http://{inside};
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Proto $scheme;
    }}
  }}
}}
"""


@contextmanager
def proxy(folder: Path, port: int, inside: str) -> Iterator[None]:
    (folder / "nginx.conf").write_text(
        CONFIGURATION.format(folder=folder, port=port, inside=inside)
    )
    running = subprocess.Popen(["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")])
    try:
        yield
    finally:
        running.terminate()
        running.wait(10)


def certificate(folder: Path) -> ssl.SSLContext:
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    made += ["-subj", "/CN=localhost"]
    subprocess.run(
        [*made, "-addext", "subjectAltName=DNS:localhost"]
        + ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")],
        check=True,
        capture_output=True,
    )
    return ssl.create_default_context(cafile=str(folder / "cert.pem"))


def test_behind_a_tls_proxy_readers_log_in_act_and_live(
    engine: Engine, database_url: str, ring: KeyRing, tmp_path: Path, make: Make, feed: Feed
) -> None:
    feed(make.series())
    port, trust = free_port(), certificate(tmp_path)
    outside = f"https://localhost:{port}"
    settings = web_settings(database_url, tmp_path, ring).model_copy(
        update={"web_origin": outside, "web_proxies": "127.0.0.1"}
    )
    ours = {"sec-fetch-site": "same-origin", "origin": outside}
    with (
        serving(settings) as (_, direct),
        proxy(tmp_path, port, f"{direct.base_url.host}:{direct.base_url.port}"),
        httpx.Client(base_url=outside, verify=trust, timeout=10) as client,
    ):
        wait_for(lambda: answers(client))
        entered = client.post("/login", data={"token": TOKENS["reader"]}, headers=ours)
        assert entered.status_code == 303
        assert "; Secure" in entered.headers["set-cookie"]
        csrf = client.get("/").text.split('name="csrf" content="')[1].split('"')[0]
        opened = client.post("/next", data={"csrf": csrf}, headers=ours)
        assert opened.headers["location"].startswith("/studies/")
        evil = client.post(
            "/next", data={"csrf": csrf}, headers=ours | {"origin": "https://evil.example"}
        )
        assert evil.status_code == 403
        with client.stream("GET", "/api/v1/events") as stream:
            lines = stream.iter_lines()
            assert next(lines) == "retry: 1000"
            begun = time.monotonic()
            feed(make.series("1.9", patient="P9"))
            assert any(line == "event: rows" for line in lines)
            assert time.monotonic() - begun < 5, "the proxy holds nothing back"


def answers(client: httpx.Client) -> bool:
    try:
        return client.get("/livez").status_code == 200
    except httpx.TransportError:
        return False
