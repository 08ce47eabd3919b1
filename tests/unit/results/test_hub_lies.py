"""A hub that answers what is wrong, or sends elsewhere: one error, nothing called sent that isn't, no token elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.hub_server import TOKEN, HubServer

from dasd.base.progress import Console
from dasd.errors import HubError, InputError
from dasd.results.cards.contents import Piece
from dasd.results.cards.push import Push, Target
from dasd.results.cards.upload import Pushed, send

CREATE, INFO, PREUPLOAD, BATCH, COMMIT = (
    "/api/repos/create",
    "/api/models/me/student",
    "/preupload/",
    "/info/lfs/objects/batch",
    "/commit/",
)
FILES = ("README.md", "model.safetensors")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with HubServer() as server:
        yield server


def pushed(hub: HubServer) -> Pushed:
    files = tuple(Piece(name, b"# some", 6) for name in FILES)
    push = Push("model", Target("me/student", True), hub.url, Path("/tmp"), files, (), "# some", ())
    return send(push, Console(quiet=True))


def told(**more: object) -> dict[str, object]:
    return {
        "files": [{"path": name, "uploadMode": "regular", "shouldIgnore": False, **more} for name in FILES]
    }


LIES = {
    "no address": (CREATE, {}),
    "a list for an address": (CREATE, []),
    "null for an address": (CREATE, None),
    "a number for an address": (CREATE, {"url": 5}),
    "no JSON": (CREATE, b"<html>"),
    "about nothing": (INFO, {}),
    "about a list": (INFO, []),
    "files that are a number": (INFO, {"id": "me/student", "private": True, "siblings": 5}),
    "no files wanted": (PREUPLOAD, {"files": []}),
    "other files wanted": (
        PREUPLOAD,
        {"files": [{"path": "../x", "uploadMode": "lfs", "shouldIgnore": False}]},
    ),
    "another file wanted": (
        BATCH,
        {
            "transfer": "basic",
            "objects": [{"oid": "f" * 64, "size": 1, "actions": {"upload": {"href": "http://x"}}}],
        },
    ),
    "a commit without a name": (COMMIT, {}),
    "a commit that is a list": (COMMIT, []),
}


@pytest.mark.parametrize("lie", LIES)
def test_an_answer_that_cannot_be_read_is_one_error(lie: str, hub: HubServer) -> None:
    part, answer = LIES[lie]
    hub.faults.lie[part] = answer
    with pytest.raises(HubError, match=r"the same command goes on") as caught:
        pushed(hub)
    assert TOKEN not in str(caught.value)


def test_files_that_the_hub_leaves_out_are_named(hub: HubServer) -> None:
    hub.faults.lie[PREUPLOAD] = told(shouldIgnore=True)
    with pytest.raises(HubError, match=r"without README\.md, model\.safetensors; look whether a \.gitignore"):
        pushed(hub)
    assert not hub.repositories["me/student"].files


def test_what_is_not_surely_private_gets_nothing(hub: HubServer) -> None:
    hub.faults.lie[INFO] = {"id": "me/student", "private": "no"}
    with pytest.raises(InputError, match=r"isn't called private by the hub; nothing was sent"):
        pushed(hub)


@pytest.mark.parametrize("part", [CREATE, INFO, COMMIT])
def test_a_redirection_to_another_host_takes_no_token_along(part: str, hub: HubServer) -> None:
    with HubServer() as other:
        hub.faults.elsewhere[part] = other.url + part
        with pytest.raises(HubError):
            pushed(hub)
        assert other.tokens == [None] and hub.tokens[0] == f"Bearer {TOKEN}"


@pytest.mark.parametrize("to", ["file:///etc/passwd", CREATE])
def test_a_redirection_to_a_file_or_in_a_circle_ends(to: str, hub: HubServer) -> None:
    hub.faults.elsewhere[CREATE] = to if "://" in to else hub.url + to
    with pytest.raises(HubError, match="cut off"):
        pushed(hub)
    assert len(hub.requests) < 30


@pytest.mark.parametrize("status", [409, 412, 413])
def test_a_refused_commit_is_told_with_the_hubs_words(status: int, hub: HubServer) -> None:
    hub.faults.refuse[COMMIT] = status
    with pytest.raises(HubError, match=rf"the hub answered {status} \(no, says the hub\)"):
        pushed(hub)


def test_all_that_is_right_arrives(hub: HubServer) -> None:
    assert pushed(hub).stale == ()
    assert set(hub.repositories["me/student"].files) == set(FILES)
