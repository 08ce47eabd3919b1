"""``dasd push`` to a hub over HTTP that can fail: the command in a process of its own, or in this one where that is enough."""

from __future__ import annotations

import json
import os
import pty
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from safetensors.numpy import load_file, save_file
from tests.hub_server import TOKEN, HubServer
from tests.launcher import Launcher
from tests.stage_run import run_recipe

from dasd.cli import guard
from dasd.errors import InputError
from dasd.models.miniature import model_path
from dasd.results.export import export_run
from dasd.store import Run

NAME = "me/student"
SENT = {
    "README.md",
    "chat_template.jinja",
    "config.json",
    "generation_config.json",
    "model-00001-of-00003.safetensors",
    "model-00002-of-00003.safetensors",
    "model-00003-of-00003.safetensors",
    "model.safetensors.index.json",
    "tokenizer.json",
    "tokenizer_config.json",
}
SHARDS = sorted(name for name in SENT if name.endswith(".safetensors"))


def sharded_student(directory: Path) -> Path:
    """The miniature student with its weights in three files, and with what must never leave."""
    source = model_path("student")
    directory.mkdir()
    for path in source.iterdir():
        if path.suffix != ".safetensors" and path.name != "README.md":
            (directory / path.name).write_bytes(path.read_bytes())
    weights = load_file(source / "model.safetensors")
    index = {}
    for number, shard in enumerate(SHARDS):
        names = sorted(weights)[number::3]
        save_file({name: weights[name] for name in names}, directory / shard, {"format": "pt"})
        index |= dict.fromkeys(names, shard)
    written = {"metadata": {}, "weight_map": index}
    (directory / "model.safetensors.index.json").write_text(json.dumps(written))
    for name in ("optimizer.pt", "training_args.bin", "trainer_state.json", "modeling_own.py", ".env"):
        (directory / name).write_bytes(b"not for others")
    (directory / "state").mkdir()
    (directory / "state" / "optimizer.safetensors").write_bytes(b"not for others")
    return directory


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    base = tmp_path_factory.mktemp("push")
    student = sharded_student(base / "secret-place")
    return run_recipe(base / "run", student={"model": str(student)})


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with HubServer() as server:
        yield server


@dataclass
class Done:
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


class Here:
    """Runs commands in this process, which knows the hub's library already."""

    def __init__(
        self, hub: HubServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        from huggingface_hub import constants

        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        self._capsys = capsys

    def __call__(self, run: Run, *arguments: str) -> Done:
        self._capsys.readouterr()
        code = guard.run(command(run, *arguments)[3:])
        return Done(code, *self._capsys.readouterr())


@pytest.fixture
def here(hub: HubServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Here:
    return Here(hub, monkeypatch, capsys)


def command(run: Run, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "dasd", "push", str(run.directory), "--to", NAME, *arguments]


def push(run: Run, hub: HubServer, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(run, *arguments),
        env={**os.environ, **hub.environment, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def one_message(done: subprocess.CompletedProcess[str] | Done, code: int, *words: str) -> None:
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert TOKEN not in done.stdout + done.stderr
    for word in words:
        assert word in done.stderr


def arrived(run: Run, hub: HubServer, branch: str = "main") -> None:
    """Everything is there, byte by byte, and nothing else."""
    files = hub.repositories[NAME].branches[branch]
    assert set(files) == SENT
    for name in SENT - {"README.md"}:
        assert files[name] == (run.directory / "checkpoints" / "stage3" / name).read_bytes(), name


def test_a_push_sends_the_model_and_nothing_else(run: Run, hub: HubServer) -> None:
    done = push(run, hub, "--yes", "--license", "apache-2.0")
    assert done.returncode == 0, done.stderr
    arrived(run, hub)
    repository = hub.repositories[NAME]
    assert repository.private and repository.commits == 1
    card = repository.files["README.md"].decode()
    assert card.startswith("---\n") and "license: apache-2.0" in card
    assert done.stdout.splitlines()[-1] == f"{hub.url}/{NAME}"
    everything = b"".join([*repository.files.values(), *hub.store.values()])
    assert b"not for others" not in everything
    assert str(run.directory.parent).encode() not in everything
    assert TOKEN not in done.stdout + done.stderr


def test_a_dry_run_shows_every_file_and_sends_none(run: Run, hub: HubServer, here: Here) -> None:
    done = here(run, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert not hub.requests
    for name in SENT:
        assert f"  {name} " in done.stdout
    assert f"model {NAME} at {hub.url}, private" in done.stdout
    for name, why in (
        ("optimizer.pt", "a pickle"),
        ("training_args.bin", "a pickle"),
        ("trainer_state.json", "trainer's state"),
        ("modeling_own.py", "code"),
        ("losses.parquet", "no part of a model"),
        (".env", "no part of a model"),
        ("state/", "a directory"),
    ):
        assert f"  {name}: {why}" in done.stdout
    assert "license: unknown" in done.stdout
    as_json = json.loads(here(run, "--dry-run", "--json", "--public").stdout)
    assert as_json["private"] is False
    assert {item["path"] for item in as_json["files"]} == SENT
    assert as_json["bytes"] == sum(item["bytes"] for item in as_json["files"])


def test_without_a_terminal_it_wants_yes(run: Run, hub: HubServer) -> None:
    one_message(push(run, hub), 2, "--yes")
    assert not hub.requests


@pytest.mark.parametrize(("answer", "code"), [(b"n\n", 1), (b"y\n", 0)])
def test_on_a_terminal_it_asks(run: Run, hub: HubServer, answer: bytes, code: int) -> None:
    terminal, stdin = pty.openpty()
    process = subprocess.Popen(
        command(run),
        env={**os.environ, **hub.environment},
        stdin=stdin,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    os.close(stdin)
    os.write(terminal, answer)
    _, said = process.communicate(timeout=120)
    os.close(terminal)
    assert process.returncode == code, said
    assert b"Send this?" in said
    assert bool(hub.requests) == (code == 0)


def test_a_killed_push_goes_on_where_it_was(run: Run, hub: HubServer) -> None:
    hub.faults.hold_after = 2  # two shards arrive, the third is under way
    process = subprocess.Popen(
        command(run, "--yes"),
        env={**os.environ, **hub.environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    assert hub.held.wait(60)
    process.send_signal(signal.SIGKILL)
    process.wait()
    hub.release.set()
    hub.faults.hold_after = None
    first = list(hub.uploaded)
    assert len(first) == 2 and not hub.repositories[NAME].files
    done = push(run, hub, "--yes")
    assert done.returncode == 0, done.stderr
    arrived(run, hub)
    assert len(hub.uploaded) == len(set(hub.uploaded)), "a file that had arrived was sent again"


@pytest.fixture(scope="module")
def launcher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launcher]:
    modules = (
        "dasd.results.cards.push",
        "dasd.cli.push",
    )  # not the hub's library: it reads its environment once
    with Launcher(tmp_path_factory.mktemp("commands"), modules) as started:
        yield started


@pytest.fixture(scope="module")
def requests(run: Run, launcher: Launcher) -> int:
    """How many a push takes that nobody kills."""
    with HubServer() as hub:
        done = launcher.run(command(run, "--yes")[3:], environment=hub.environment)
        assert done.code == 0, done.said
        return len(hub.requests)


@pytest.mark.parametrize("number", [pytest.param(n, marks=[pytest.mark.slow] * (n >= 2)) for n in range(12)])
def test_a_push_that_is_killed_at_any_request(
    run: Run, launcher: Launcher, requests: int, number: int
) -> None:
    """Right before the hub does what a drawn request asks, or when it is done and the answer isn't there yet."""
    arguments = command(run, "--yes")[3:]
    chance = random.Random(number)
    with_signal = (signal.SIGKILL, signal.SIGTERM)[number % 2]
    with HubServer() as hub:
        hub.faults.hold_at = (chance.randint(1, requests), chance.random() < 0.5)
        pushed = launcher.start(arguments, environment=hub.environment)
        assert hub.held.wait(60), pushed.said
        os.kill(pushed.pid, with_signal)
        assert pushed.wait() == -with_signal, pushed.said
        assert "Traceback" not in pushed.said
        hub.release.set()
        assert launcher.left_behind() == []
        again = launcher.run(arguments, environment=hub.environment)
        assert again.code == 0, again.said
        arrived(run, hub)
        assert hub.repositories[NAME].commits == 1
        assert len(hub.uploaded) == len(set(hub.uploaded)), "a file that had arrived was sent again"


def test_ctrl_c_during_an_upload_ends_at_once(run: Run, hub: HubServer) -> None:
    """The hub's library would wait for the request that the hub holds."""
    hub.faults.hold_after = 0
    process = subprocess.Popen(
        command(run, "--yes"),
        env={**os.environ, **hub.environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert hub.held.wait(60)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=20)[1]  # the hub holds for 60
    assert process.returncode == guard.INTERRUPTED, said
    assert "interrupted; " in said and "Traceback" not in said


def test_a_dropped_connection_is_tried_again(run: Run, hub: HubServer, here: Here) -> None:
    hub.faults.drop_puts = 1
    assert here(run, "--yes").returncode == 0
    arrived(run, hub)


def test_a_refused_commit_goes_on_with_the_same_command(run: Run, hub: HubServer, here: Here) -> None:
    hub.faults.refuse["/commit/"] = 422
    one_message(here(run, "--yes"), 1, "422", "no, says the hub", "the same command goes on")
    assert not hub.repositories[NAME].files
    hub.faults.refuse.clear()
    sent = len(hub.uploaded)
    assert here(run, "--yes").returncode == 0
    arrived(run, hub)
    assert len(hub.uploaded) == sent


def test_the_same_again_changes_nothing(run: Run, hub: HubServer, here: Here) -> None:
    assert here(run, "--yes").returncode == 0
    assert here(run, "--yes").returncode == 0
    assert hub.repositories[NAME].commits == 1


def test_a_branch_and_a_name_of_its_own_for_stale_weights(run: Run, hub: HubServer, here: Here) -> None:
    assert here(run, "--yes").returncode == 0
    hub.repositories[NAME].files["model-00001-of-00009.safetensors"] = b"of an earlier model"
    done = here(run, "--yes", "--checkpoint", "low")
    assert "warning: me/student holds weights of an earlier push" in done.stderr
    assert here(run, "--yes", "--revision", "second").returncode == 0
    assert set(hub.repositories[NAME].branches) == {"main", "second"}


def test_a_public_repository_is_no_place_for_a_private_push(run: Run, hub: HubServer, here: Here) -> None:
    assert here(run, "--yes", "--public").returncode == 0
    before = len(hub.uploaded)
    one_message(here(run, "--yes", "--checkpoint", "low"), 2, "public", "nothing was sent")
    assert len(hub.uploaded) == before and hub.repositories[NAME].commits == 1


def test_what_the_hub_refuses_is_one_message(
    run: Run, hub: HubServer, here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.faults.refuse["/api/repos/create"] = 403
    one_message(here(run, "--yes"), 1, "write", NAME)
    hub.faults.refuse.clear()
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    one_message(here(run, "--yes"), 1, "token", "HF_TOKEN")
    assert not hub.repositories


def test_wrong_use_is_told_before_anything_is_sent(run: Run, hub: HubServer, here: Here) -> None:
    one_message(here(run, "--yes", "--to", "a/b/c"), 2, "OWNER/NAME")
    one_message(here(run, "--yes", "--to", "nobody"), 2, "OWNER/NAME")
    one_message(here(run, "--yes", "--revision", "../x"), 2, "--revision")
    one_message(here(run, "--yes", "--checkpoint", "hihg"), 2, "did you mean 'high'")
    assert not hub.requests


def test_no_token_and_no_hub(run: Run, hub: HubServer, tmp_path: Path) -> None:
    no_login = {"HF_TOKEN": "", "HF_HOME": str(tmp_path), "HF_TOKEN_PATH": str(tmp_path / "token")}
    one_message(push(run, hub, "--yes", **no_login), 2, "HF_TOKEN", "hf auth login")
    one_message(push(run, hub, "--yes", HF_ENDPOINT="http://127.0.0.1:9"), 1, "cut off", "the same command")
    assert not hub.requests


def test_an_altered_checkpoint_stays_at_home(run: Run, hub: HubServer, here: Here) -> None:
    path = run.directory / "checkpoints" / "stage3" / SHARDS[0]
    whole = path.read_bytes()
    try:
        path.write_bytes(whole[:-1] + b"x")
        one_message(here(run, "--yes"), 1, SHARDS[0], "altered")
    finally:
        path.write_bytes(whole)
    assert not hub.requests


def test_a_card_of_the_users_own(run: Run, hub: HubServer, here: Here, tmp_path: Path) -> None:
    card = tmp_path / "card.md"
    card.write_text("---\nlicense: mit\n---\n\nMine.\n")
    assert here(run, "--yes", "--card", str(card)).returncode == 0
    assert hub.repositories[NAME].files["README.md"] == card.read_bytes()
    card.write_text(f"---\nlicense: mit\n---\n\nUse {TOKEN}, from {run.directory}.\n")
    one_message(here(run, "--yes", "--card", str(card)), 2, "token", str(run.directory))
    card.write_text("no head\n")
    one_message(here(run, "--yes", "--card", str(card)), 2, "---")


def test_exported_data(run: Run, hub: HubServer, here: Here, tmp_path: Path) -> None:
    exported, _ = export_run(run, "text", tmp_path / "data")
    (exported / "notes.pkl").write_bytes(b"not for others")
    (exported / "away.jsonl").symlink_to(run.directory / "events.jsonl")
    done = here(run, "--yes", "--dataset", str(exported))
    assert done.returncode == 0, done.stderr
    repository = hub.repositories[NAME]
    assert repository.kind == "dataset"
    data = {path.name for path in exported.glob("*.jsonl")} - {"away.jsonl"}
    assert set(repository.files) == {"README.md", *data}
    for name in data:
        assert repository.files[name] == (exported / name).read_bytes()
    assert "away.jsonl: a link out of the directory" in done.stdout
    one_message(here(run, "--dataset", str(exported), "--checkpoint", "low"), 2, "exclude")


def test_a_directory_without_data_is_wrong_use(run: Run, tmp_path: Path) -> None:
    from dasd.results.cards import Target, dataset_push

    with pytest.raises(InputError, match="no data files"):
        dataset_push(run, Target(NAME, True), tmp_path)
