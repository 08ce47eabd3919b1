"""``dasd card`` as it is called."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests import report_run
from tests.command import Done
from tests.command import dasd as command

from dasd.cli.card import card
from dasd.cli.push import push
from dasd.results.cards.licences import front_matter
from dasd.store import Run

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return report_run.make_run(tmp_path_factory.mktemp("card") / "run", until="evaluate-high", reported=False)


def dasd(*arguments: str) -> Done:
    return command("card", *arguments)


def test_a_card_on_stdout_and_nothing_on_the_disk(run: Run) -> None:
    before = sorted(run.directory.rglob("*"))
    done = dasd(str(run.directory), "--license", "mit", "--name", "sums", "--language", "en")
    assert done.returncode == 0 and done.stderr == ""
    head = front_matter(done.stdout)
    assert (head["license"], head["language"]) == ("mit", ["en"])
    assert "# sums\n" in done.stdout and "training stage `high` of the dasd run" in done.stdout
    assert sorted(run.directory.rglob("*")) == before


def test_into_a_directory_only_when_asked(run: Run, tmp_path: Path) -> None:
    done = dasd(str(run.directory), "--checkpoint", "low", "--to", str(tmp_path / "new"))
    assert done.stdout == f"{tmp_path / 'new' / 'README.md'}\n"
    written = (tmp_path / "new" / "README.md").read_text(encoding="utf-8")
    assert "training stage `low` of the dasd run" in written
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["README.md"]


def test_the_card_of_data(run: Run, tmp_path: Path) -> None:
    (tmp_path / "low.jsonl").write_text('{"prompt": "1", "completion": "2"}\n')
    done = dasd(str(run.directory), "--dataset", str(tmp_path))
    assert done.returncode == 0
    assert front_matter(done.stdout)["configs"] == [
        {"config_name": "low", "data_files": [{"split": "train", "path": ["low.jsonl"]}]}
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--checkpoint", "lwo"), "did you mean 'low'"),
        (("--dataset", ".", "--checkpoint", "low"), "exclude one another"),
        (("--hub-benchmark", "eval"), "NAME=OWNER/DATASET:TASK"),
        (("--dataset", "nowhere"), "does not exist"),
    ],
)
def test_wrong_use_is_one_message(run: Run, arguments: tuple[str, ...], words: str) -> None:
    done = dasd(str(run.directory), *arguments)
    assert done.returncode == 2 and done.stdout == ""
    assert words in done.stderr and "Traceback" not in done.stderr


def test_every_option_is_on_the_page() -> None:
    page = (ROOT / "docs/sharing.md").read_text(encoding="utf-8")
    options = {name for command in (card, push) for item in command.params for name in item.opts}
    told = {name for name in options if f"{name}`" in page or f"{name} " in page}
    assert {name for name in options - told if name.startswith("--")} == {"--quiet"}


def test_what_is_no_run(tmp_path: Path) -> None:
    done = dasd(str(tmp_path))
    assert done.returncode == 2 and "is not a run directory" in done.stderr
