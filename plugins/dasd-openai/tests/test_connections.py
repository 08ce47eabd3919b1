"""Proxies, certificates and addresses of the environment and the recipe: whom the key reaches, and what is told."""

from __future__ import annotations

import asyncio
import os
import shutil
import ssl
import subprocess
from pathlib import Path

import pytest
from benchmarks.loopback import http
from openai_wire import SECRET, asked
from pydantic import ValidationError

from dasd.api import BackendError, InputError
from dasd_openai.answers import About
from dasd_openai.connections import is_here
from dasd_openai.options import OpenAIOptions
from dasd_openai.transport import Transport

pytestmark = pytest.mark.usefixtures("only_key")
PASSWORD = "s3cret"


NAMES = (
    "localhost localhost. a.localhost 127.0.0.1 127.1 0 0.0.0.0 [::1] [::] ip6-localhost [::ffff:127.0.0.1]"
)


def test_this_machine_is_known_by_all_its_names() -> None:
    for host in NAMES.split():
        assert is_here(f"http://{host}:8000/v1"), host
    assert not any(
        is_here(f"http://{other}/v1") for other in ("localhost.org", "10.0.0.1", "[::2]", "gpu-box")
    )


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "127.1"])
def test_a_proxy_gets_neither_key_nor_request_for_this_machine(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    wire, told = asked(http(b"{}"), address=f"http://{host}:{{port}}/v1")
    assert told == ["{}"] and wire.heads[0].startswith(b"POST /v1/x ")


def test_a_dead_proxy_is_named_and_its_password_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://me:{PASSWORD}@127.0.0.1:9")
    _, (told,) = asked(address="http://gpu-box.invalid/v1", patience=0)
    assert (
        "at the proxy of the environment variable http_proxy (NO_PROXY=gpu-box.invalid goes without)" in told
    )
    assert PASSWORD not in told


def test_a_proxy_that_wants_another_password_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"CONNECT ") and SECRET.encode() not in head
        writer.write(http(b"", 407))
        writer.close()

    async def ask() -> None:
        async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            monkeypatch.setenv("https_proxy", f"http://me:{PASSWORD}@127.0.0.1:{port}")
            transport = Transport(OpenAIOptions(), 1, "https://gpu-box.invalid/v1")
            with pytest.raises(BackendError, match=r"407 .*proxy's address and password") as caught:
                await transport.ask("sample s", "/x", None, About, str)
            await transport.close()
            assert PASSWORD not in str(caught.value)

    asyncio.run(ask())


@pytest.mark.parametrize("proxy", ["ftp://me:{}@host", "socks5://me:{}@host"])
def test_a_proxy_that_is_none_is_refused_by_its_variable(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy.format(PASSWORD))
    with pytest.raises(InputError, match=r"\(ALL_PROXY: .*put gpu-box into NO_PROXY") as caught:
        Transport(OpenAIOptions(), 1, "http://gpu-box:8000/v1")
    assert PASSWORD not in str(caught.value)


def test_an_address_that_is_none_is_refused_when_the_recipe_is_read() -> None:
    for address in (
        "h:x",
        "h:99999",
        "h:0",
        "exa mple",
        "h\x00",
        "h\n",
        "[::1",
        "☃.example",
        "",
        "h/" + "a" * 70_000,
    ):
        with pytest.raises(ValidationError) as caught:
            OpenAIOptions(base_url=f"http://{address}/v1")
        assert "wanted an address like http://localhost:8000/v1" in caught.value.errors()[0]["msg"]


# -- TLS --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_certificates_that_cannot_be_read_are_told_by_their_variable(
    content: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    with pytest.raises(InputError, match=r"SSL_CERT_FILE .*; set it to a file of them in PEM form"):
        Transport(OpenAIOptions(), 1, "https://gpu-box.invalid/v1")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed one with its key, for localhost."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl makes the certificate")
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    subprocess.run(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost "
        f"-addext subjectAltName=DNS:localhost -keyout {path}.key -out {path}".split(),
        check=True,
        capture_output=True,
    )
    path.write_text(path.read_text() + Path(f"{path}.key").read_text())
    return path


@pytest.fixture
def tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def test_a_self_signed_certificate_is_refused_with_what_to_set(
    tls: ssl.SSLContext, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire, (told,) = asked(http(b"{}"), secure=tls, address="https://localhost:{port}/v1")
    assert "self-signed certificate" in told and "SSL_CERT_FILE names" in told and not wire.heads
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert asked(http(b"{}"), secure=tls, address="https://localhost:{port}/v1")[1] == ["{}"]
    (told,) = asked(http(b"{}"), secure=tls, address="https://127.0.0.1:{port}/v1")[1]
    assert "not valid for '127.0.0.1'" in told


def test_a_server_without_tls_is_told_at_once() -> None:
    async def plain(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(http(b"", 400))
        writer.close()

    _, (told,) = asked(raw=plain, address="https://127.0.0.1:{port}/v1", patience=60)
    assert "speaks no TLS: set teacher.options.base_url to http://" in told


def test_a_damaged_tls_record_is_a_connection_that_broke(
    tls: ssl.SSLContext, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def damaged(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        os.write(writer.get_extra_info("socket").fileno(), b"\x17\x03\x03\x00\x20" + b"?" * 32)
        await reader.read()
        writer.close()

    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    _, (told,) = asked(raw=damaged, secure=tls, address="https://localhost:{port}/v1", patience=0)
    assert "could not be reached (SSLError: " in told and "BAD_RECORD_MAC" in told
