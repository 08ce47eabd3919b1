from __future__ import annotations

import json
import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import polars as pl
import pytest

from dasd.errors import InputError, LockError, StoreError
from dasd.store import DirectoryWriter, Manifest, Node, RunDirectory, Written, fingerprint


def graph(*settings: int, names: str = "abc", start: int = 1) -> list[Node]:
    """A chain of stages, each with one number as its setting."""
    nodes: list[Node] = []
    for name, setting in zip(names, settings, strict=False):
        needs = {nodes[-1].name: nodes[-1].fingerprint} if nodes else {}
        print_ = fingerprint("k", name, {"x": setting}, needs)
        nodes.append(Node(start + len(nodes), name, "k", {"x": setting}, needs, print_))
    return nodes


class Runner:
    """Brings a chain up to date; ``ran`` names the stages that did work."""

    def __init__(self, path: Path) -> None:
        self.store = RunDirectory(path)
        self.path = path
        self.ran: list[str] = []

    def run(self, nodes: list[Node], salt: str = "") -> dict[str, Manifest]:
        self.ran = []
        written: dict[str, Written] = {}
        manifests = {}
        with self.store.writing("test", 1, "name: test\n"):
            self.store.arrange(nodes)
            for node in nodes:
                stage, header, standing = self.store.settle(node, written)
                manifest = standing.manifest
                if manifest is None:
                    self.ran.append(node.name)
                    writer = DirectoryWriter(
                        stage,
                        header,
                        lambda path, name=node.name: self.store.claim(name, path),  # type: ignore[misc]
                        lambda *_: None,
                    )
                    text = f"{node.name}{node.settings['x']}{salt}"
                    rows = {"sample_id": [text], "stage": "", "kept": True, "reason": "", "detail": ""}
                    writer.append("verdicts", pl.DataFrame(rows))
                    artifact = writer.artifact(f"out/{node.name}")
                    artifact.mkdir(exist_ok=True)
                    (artifact / "file").write_text(text)
                    manifest = writer.close(node.settings)
                written[node.name] = Written.of(manifest)
                manifests[node.name] = manifest
        return manifests

    def text(self, name: str) -> str:
        return (self.path / "out" / name / "file").read_text()


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    return Runner(tmp_path / "run")


def names(path: Path) -> list[str]:
    return sorted(item.name for item in path.iterdir())


def states(runner: Runner, nodes: list[Node]) -> list[str]:
    return [standing.state for standing in runner.store.survey(nodes).values()]


def test_what_stands_is_skipped(runner: Runner) -> None:
    nodes = graph(1, 2, 3)
    assert states(runner, nodes) == ["new", "new", "new"]
    assert not runner.path.exists()
    first = runner.run(nodes)
    assert runner.ran == ["a", "b", "c"]
    assert states(runner, nodes) == ["done", "done", "done"]
    assert runner.run(nodes) == first
    assert runner.ran == []
    visible = [name for name in names(runner.path) if not name.startswith(".")]
    assert visible == ["out", "recipe.yaml", "run.json", "stages"]


def test_a_change_supersedes_and_a_change_back_restores(runner: Runner) -> None:
    old, new = graph(1, 2, 3), graph(1, 5, 3)
    before = runner.run(old)
    assert states(runner, new) == ["done", "changed", "changed"]
    runner.run(new)
    assert runner.ran == ["b", "c"]
    assert [runner.text(name) for name in "abc"] == ["a1", "b5", "c3"]
    kept = [f"02-b-{old[1].fingerprint[:8]}", f"03-c-{old[2].fingerprint[:8]}"]
    assert names(runner.path / "superseded") == kept
    assert (runner.path / "superseded" / kept[0] / "artifacts" / "out" / "b" / "file").read_text() == "b2"

    assert states(runner, old) == ["done", "done", "done"]
    assert runner.run(old) == before
    assert runner.ran == []
    assert [runner.text(name) for name in "abc"] == ["a1", "b2", "c3"]
    kinds = [json.loads(line)["kind"] for line in (runner.path / "events.jsonl").read_text().splitlines()]
    assert kinds == ["superseded", "superseded", "superseded", "superseded", "restored", "restored"]


def test_a_partly_done_stage_goes_on_only_with_its_own_settings(runner: Runner) -> None:
    nodes, changed = graph(1, 2), graph(1, 7)
    runner.run(nodes)
    (runner.path / "stages" / "02-b" / "manifest.json").unlink()
    assert states(runner, nodes) == ["done", "partial"]
    assert states(runner, changed) == ["done", "changed"]
    runner.run(changed)
    assert runner.ran == ["b"]
    assert states(runner, nodes) == ["done", "partial"]  # kept with what it had


def test_a_stage_that_was_removed_is_done_again_and_those_after_it_if_it_differs(runner: Runner) -> None:
    nodes = graph(1, 2, 3)
    runner.run(nodes)
    shutil.rmtree(runner.path / "stages" / "01-a")
    assert states(runner, nodes) == ["new", "changed", "changed"]
    runner.run(nodes)
    assert runner.ran == ["a"]  # the same result: what was made from it still holds
    assert (runner.path / "superseded" / "unowned-1" / "out" / "a" / "file").read_text() == "a1"

    shutil.rmtree(runner.path / "stages" / "01-a")
    runner.run(nodes, salt="!")
    assert runner.ran == ["a", "b", "c"]
    assert [runner.text(name) for name in "abc"] == ["a1!", "b2!", "c3!"]


def test_stages_are_found_by_name_and_renumbered(runner: Runner) -> None:
    runner.run(graph(1, 2, 3))
    runner.run(graph(1, 2, 3, start=4))
    assert runner.ran == []
    assert names(runner.path / "stages") == ["04-a", "05-b", "06-c"]


def test_a_stage_that_left_the_graph_is_superseded_and_gives_up_its_artifact(runner: Runner) -> None:
    runner.run(graph(1, 2, 3))
    runner.run(graph(1, 2))
    assert names(runner.path / "stages") == ["01-a", "02-b"]
    assert names(runner.path / "out") == ["a", "b"]


@pytest.mark.parametrize("back", [False, True])
def test_a_kill_while_superseding(runner: Runner, back: bool) -> None:
    old, new = graph(1, 2), graph(1, 5)
    before = runner.run(old)
    stage = runner.path / "stages" / "02-b"
    (stage / "artifacts" / "out").mkdir(parents=True)
    (runner.path / "out" / "b").rename(stage / "artifacts" / "out" / "b")  # and then the kill
    if back:
        assert runner.run(old) == before
        assert runner.ran == []
        assert runner.text("b") == "b2"
        assert not (stage / "artifacts").exists()
    else:
        runner.run(new)
        assert runner.text("b") == "b5"
        runner.run(old)
        assert (runner.ran, runner.text("b")) == ([], "b2")


def test_a_kill_before_the_header_was_written(runner: Runner) -> None:
    nodes = graph(1, 2)
    runner.run(nodes[:1])
    (runner.path / "stages" / "02-b").mkdir()
    (runner.path / "stages" / "02-b" / ".stage.json.tmp").write_text("{")
    runner.run(nodes)
    assert runner.ran == ["b"]
    assert ".stage.json.tmp" not in names(runner.path / "stages" / "02-b")


def test_two_stages_cannot_have_one_artifact(runner: Runner) -> None:
    runner.run(graph(1))
    for path in ("out/a", "out", "out/a/deeper"):
        with pytest.raises(StoreError, match="belongs to stage a"):
            runner.store.claim("z", path)


@pytest.mark.parametrize("file", ["manifest.json", "stage.json", "progress.jsonl"])
def test_torn_records_are_named(runner: Runner, file: str) -> None:
    nodes = graph(1, 2)
    runner.run(nodes)
    path = runner.path / "stages" / "01-a" / file
    if file == "progress.jsonl":
        path.write_bytes(b"\0" + path.read_bytes())
    else:
        path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(StoreError) as caught:
        runner.run(nodes)
    assert caught.value.path == path
    assert str(path) in str(caught.value) and "remove" in str(caught.value)


def test_a_lost_header_is_named(runner: Runner) -> None:
    runner.run(graph(1))
    (runner.path / "stages" / "01-a" / "stage.json").unlink()
    with pytest.raises(StoreError, match=r"stage\.json is missing"):
        runner.store.survey(graph(1))


def test_two_directories_of_one_stage(runner: Runner) -> None:
    runner.run(graph(1))
    (runner.path / "stages" / "07-a").mkdir()
    with pytest.raises(StoreError, match="both of stage a"):
        runner.run(graph(1))


def test_directories_that_hold_something_else_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(InputError, match=r"holds other files \(e\.g\. thesis\.tex\)"), ExitStack() as stack:
        stack.enter_context(RunDirectory(tmp_path).writing("x", 0, ""))
    assert names(tmp_path) == ["thesis.tex"]
    with pytest.raises(InputError, match="is a file"), ExitStack() as stack:
        stack.enter_context(RunDirectory(tmp_path / "thesis.tex").writing("x", 0, ""))


def test_a_newer_format_is_refused(runner: Runner) -> None:
    runner.run(graph(1))
    path = runner.path / "run.json"
    newer = path.read_text().replace('"format": 1', '"format": 99, "what": "only that one knows"')
    path.write_text(newer)
    with pytest.raises(StoreError, match="upgrade dasd"):
        runner.run(graph(1))
    assert path.read_text() == newer


HOLD = """
import sys
from pathlib import Path
from dasd.store import RunDirectory
with RunDirectory(Path(sys.argv[1])).writing("x", 0, ""):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_one_writer(runner: Runner) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(runner.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(LockError, match=rf"process {holder.pid} on host \S+ since") as caught:
        runner.run(graph(1))
    assert caught.value.exit_code == 2
    holder.kill()  # the kernel lets go of the lock
    holder.communicate()
    assert (runner.path / ".lock.json").exists()
    runner.run(graph(1))
    assert runner.ran == ["a"]
    assert not (runner.path / ".lock.json").exists()


def test_one_writer_inside_a_process(runner: Runner) -> None:
    with runner.store.writing("x", 0, ""), pytest.raises(LockError):
        runner.run(graph(1))
