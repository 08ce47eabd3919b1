"""Connections to one server: through the environment's proxies or none, and no answer behind an answer."""

from __future__ import annotations

import os
import resource
import socket
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any
from urllib.parse import urlsplit
from urllib.request import proxy_bypass

import httpx

from dasd.api import InputError

POOL = 64
"""Connections of one pool."""
_OTHER_FILES = 64
"""That a process has open beside connections."""


def check_open_files(connections: int) -> None:
    """InputError where this process may not have as many connections at a time."""
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed != resource.RLIM_INFINITY and connections + _OTHER_FILES > allowed:
        raise InputError(
            f"teacher.options.concurrency (or batch_size): {connections} requests at a time take as many open "
            f"files, and this process may have {allowed}; raise that (`ulimit -n {connections + 1024}`) or ask for "
            "less"
        )


def clients(
    address: str, connect_timeout: float, headers: Mapping[str, str], count: int
) -> list[httpx.AsyncClient]:
    """So many pools for one server. Raises InputError for variables of the environment that can't be used."""
    try:
        secure = httpx.create_ssl_context()
    except OSError as error:
        raise InputError(
            "the environment variable SSL_CERT_FILE (or SSL_CERT_DIR) names no certificates that can be read "
            f"({error}); set it to a file of them in PEM form, or unset it"
        ) from None
    try:
        return [
            httpx.AsyncClient(
                base_url=address,
                headers=headers,
                timeout=httpx.Timeout(None, connect=connect_timeout),
                limits=httpx.Limits(max_connections=None, max_keepalive_connections=POOL),
                verify=secure,
                # A proxy of the environment's is for other hosts than this one.
                trust_env=not is_here(address),
            )
            for _ in range(count)
        ]
    except (ImportError, ValueError, httpx.InvalidURL) as error:
        # Without the values: they may hold a password.
        wanted = "pip install httpx[socks]" if isinstance(error, ImportError) else "wanted http://HOST:PORT"
        variables = ", ".join(_proxy_variables("http", "https", "all"))
        raise InputError(
            f"a proxy of the environment can't be used ({variables}: {wanted}); "
            f"mend it, or put {urlsplit(address).hostname} into NO_PROXY"
        ) from None


def proxy_hint(address: str) -> str:
    """What to say of a server that can't be reached where the environment sends requests to it through a proxy."""
    parts = urlsplit(address)
    host = parts.hostname or ""
    found = _proxy_variables(parts.scheme, "all")
    if not found or is_here(address) or proxy_bypass(host):
        return ""
    return f", or at the proxy of the environment variable {found[0]} (NO_PROXY={host} goes without)"


def _proxy_variables(*kinds: str) -> list[str]:
    wanted = {f"{kind}_proxy" for kind in kinds}
    return [name for name, value in os.environ.items() if name.lower() in wanted and value]


def is_here(address: str) -> bool:
    """Whether an address is this machine's own, in any of the ways to write that."""
    host = (urlsplit(address).hostname or "").rstrip(".")
    if host in ("localhost", "ip6-localhost", "ip6-loopback") or host.endswith(".localhost"):
        return True
    found: IPv4Address | IPv6Address
    try:
        found = ip_address(host)
    except ValueError:
        try:
            found = ip_address(socket.inet_aton(host))  # 127.1 and 0 are addresses too
        except OSError:
            return False
    found = getattr(found, "ipv4_mapped", None) or found
    # Servers say that they listen at 0.0.0.0.
    return found.is_loopback or found.is_unspecified


def surplus(response: httpx.Response) -> bytes:
    """What came behind a whole answer: the next request would be given it. The connection takes no more requests then.

    There is no public way to it; where httpx changes inside, a test of two answers at once fails.
    """
    stream: Any = response.stream
    try:
        state = stream._stream._httpcore_stream._stream._connection._h11_state
    except AttributeError:
        return b""
    more, _ = state.trailing_data
    if more:
        state.send_failed()
    return bytes(more).strip(b"\r\n")
