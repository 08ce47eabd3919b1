"""A small hub over HTTP: repositories, a store of large files that knows them by content, and commits.

It speaks what huggingface_hub's legacy transfer needs (HF_HUB_DISABLE_XET=1), keeps what arrives in memory, writes
down every request, and fails where a test says so.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlparse

TOKEN = "hf_testonlytesttoken0123456789"
LARGE = (".safetensors", ".parquet", ".jsonl", "tokenizer.json")


@dataclass
class Repository:
    kind: str
    private: bool
    commits: int = 0
    branches: dict[str, dict[str, bytes]] = field(default_factory=lambda: {"main": {}})

    @property
    def files(self) -> dict[str, bytes]:
        return self.branches["main"]


@dataclass
class Faults:
    """What goes wrong, how often."""

    drop_puts: int = 0
    """Close the connection in the middle of so many uploads."""
    hold_after: int | None = None
    """After so many whole uploads read half of the next and wait for ``release``."""
    hold_at: tuple[int, bool] | None = None
    """The so-manyth request, from 1, waits for ``release``: before the hub does it, or (true) before the answer."""
    refuse: dict[str, int] = field(default_factory=dict)
    """Status by what the path ends with or has in it."""
    lie: dict[str, object] = field(default_factory=dict)
    """What is answered instead, by the same; nothing is done. Without ``bytes`` it goes as JSON."""
    elsewhere: dict[str, str] = field(default_factory=dict)
    """Address to which a request is redirected, by the same."""


class HubServer:
    """Runs in a thread from ``with`` to its end."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.store: dict[str, bytes] = {}
        self.requests: list[tuple[str, str]] = []
        self.tokens: list[str | None] = []
        """The header that has it, of each request but uploads."""
        self.uploaded: list[str] = []
        """Digests of the files that arrived whole, each time that they did."""
        self.faults = Faults()
        self.held = threading.Event()
        self.release = threading.Event()
        self.lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def environment(self) -> dict[str, str]:
        return {"HF_ENDPOINT": self.url, "HF_TOKEN": TOKEN, "HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0"}

    def __enter__(self) -> HubServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.release.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def hold(self) -> None:
        """Keep the client waiting until it is released, or the test is long over."""
        self.held.set()
        self.release.wait(60)

    def posted(self, part: str) -> int:
        return sum(part in path for _, path in self.requests)


def git_oid(data: bytes) -> str:
    return hashlib.sha1(f"blob {len(data)}\0".encode() + data).hexdigest()


def _handler(hub: HubServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            self._route("GET")

        def do_POST(self) -> None:
            self._route("POST")

        def do_PUT(self) -> None:
            path = urlparse(self.path).path
            self._note("PUT", path)
            length = int(self.headers.get("Content-Length") or 0)
            with hub.lock:
                drop = hub.faults.drop_puts > 0
                hub.faults.drop_puts -= drop
                hold = hub.faults.hold_after is not None and len(hub.uploaded) >= hub.faults.hold_after
            if drop or hold:
                self.rfile.read(length // 2)
                if hold:
                    hub.hold()
                self._hang_up()
                return
            if self._held(done=False):
                return
            data = self._body()
            digest = path.rpartition("/")[2]
            if hashlib.sha256(data).hexdigest() != digest:
                self._answer(400, {"error": "other content than its digest says"})
                return
            with hub.lock:
                hub.store[digest] = data
                hub.uploaded.append(digest)
            self._answer(200, {})

        def _route(self, method: str) -> None:
            path = unquote(urlparse(self.path).path)
            self._note(method, path)
            hub.tokens.append(self.headers.get("Authorization"))
            body = self._body()
            if self._held(done=False):
                return
            for part, status in hub.faults.refuse.items():
                if part in path:
                    self._answer(status, {"error": "no, says the hub"})
                    return
            for part, address in hub.faults.elsewhere.items():
                if part in path:
                    self._answer(307, {}, address)
                    return
            for part, told in hub.faults.lie.items():
                if part in path:
                    self._answer(200, told)
                    return
            if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                self._answer(401, {"error": "Invalid username or password."})
                return
            if path == "/api/repos/create":
                self._create(json.loads(body))
            elif path == "/api/validate-yaml":
                self._answer(200, {"errors": [], "warnings": []})
            elif path.endswith("/info/lfs/objects/batch"):
                self._batch(json.loads(body))
            else:
                self._in_repository(path.split("/"), body)

        def _note(self, method: str, path: str) -> None:
            """Write a request down, and which one it is, from 1."""
            with hub.lock:
                hub.requests.append((method, path))
                self._number = len(hub.requests)

        def _held(self, *, done: bool) -> bool:
            """Whether this request was to be held, and its client is gone."""
            if hub.faults.hold_at != (self._number, done):
                return False
            hub.hold()
            self._hang_up()
            return True

        def _hang_up(self) -> None:
            self.close_connection = True
            self.connection.close()

        def _in_repository(self, parts: list[str], body: bytes) -> None:
            # /api/models/OWNER/NAME[/ACTION/REVISION]
            name = "/".join(parts[3:5])
            found = hub.repositories.get(name)
            if parts[1] != "api" or found is None or parts[2] != f"{found.kind}s":
                self._answer(404, {"error": "Repository not found"})
                return
            action, revision = (*parts[5:7], "", "")[:2] if len(parts) > 5 else ("", "main")
            if action == "branch":
                found.branches.setdefault(revision, dict(found.files))
                self._answer(200, {})
            elif action == "preupload":
                self._preupload(found.branches[revision], json.loads(body))
            elif action == "commit":
                self._commit(name, found, revision, body)
            else:
                branch = found.branches[revision] if action == "revision" else found.files
                files = [{"rfilename": path} for path in branch]
                info = {"_id": name, "id": name, "sha": f"{found.commits:040x}", "private": found.private}
                self._answer(200, {**info, "siblings": files, "tags": [], "downloads": 0, "likes": 0})

        def _create(self, wanted: dict[str, Any]) -> None:
            name = f"{wanted['organization']}/{wanted['name']}"
            kind = wanted.get("type") or "model"
            url = f"{hub.url}/{'datasets/' if kind == 'dataset' else ''}{name}"
            if name in hub.repositories:
                self._answer(409, {"error": "You already created this repo", "url": url})
                return
            private = wanted.get("private", wanted.get("visibility") == "private")
            hub.repositories[name] = Repository(kind, bool(private))
            self._answer(200, {"url": url})

        def _preupload(self, files: dict[str, bytes], wanted: dict[str, Any]) -> None:
            answers = []
            for item in wanted["files"]:
                path = item["path"]
                large = path.endswith(LARGE)
                oid = None
                if path in files:
                    data = files[path]
                    oid = hashlib.sha256(data).hexdigest() if large else git_oid(data)
                mode = "lfs" if large else "regular"
                answers.append({"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": oid})
            self._answer(200, {"files": answers})

        def _batch(self, wanted: dict[str, Any]) -> None:
            objects = []
            for item in wanted["objects"]:
                upload = {"upload": {"href": f"{hub.url}/lfs/{item['oid']}"}}
                objects.append({**item, **({} if item["oid"] in hub.store else {"actions": upload})})
            self._answer(200, {"transfer": "basic", "objects": objects})

        def _commit(self, name: str, found: Repository, revision: str, body: bytes) -> None:
            files = dict(found.branches[revision])
            for line in body.splitlines():
                item = json.loads(line)
                value = item["value"]
                if item["key"] == "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                elif item["key"] == "lfsFile":
                    files[value["path"]] = hub.store[value["oid"]]
            found.branches[revision] = files
            found.commits += 1
            oid = f"{found.commits:040x}"
            self._answer(
                200, {"commitUrl": f"{hub.url}/{name}/commit/{oid}", "commitOid": oid, "success": True}
            )

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") == "chunked":
                pieces = []
                while size := int(self.rfile.readline(), 16):
                    pieces.append(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
                return b"".join(pieces)
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))

        def _answer(self, status: int, value: object, location: str = "") -> None:
            if self._held(done=True):
                return
            data = value if isinstance(value, bytes) else json.dumps(value).encode()
            self.send_response(status)
            if location:
                self.send_header("Location", location)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    return Handler
