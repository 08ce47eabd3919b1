"""The suite of a source of questions."""

from __future__ import annotations

from typing import ClassVar

import polars as pl

from dasd.plugins.components import Role
from dasd.recipe.question_settings import QuestionSource
from dasd.recipe.verifier_settings import VerifierSettings
from dasd.testing.suite import ComponentSuite

__all__ = ["QuestionsSuite"]

COUNT = 20


class QuestionsSuite(ComponentSuite):
    """Set ``name``; ``options`` or ``make_options`` where the source has some, such as a path."""

    role: ClassVar[Role] = "questions"
    splits: ClassVar[tuple[str, ...]] = ("train", "eval")
    """The splits that the source is used for."""
    disjoint: ClassVar[bool] = True
    """Whether the splits of one configuration share no question; False for a file that is read as it is."""

    @classmethod
    def load(cls, split: str, *, count: int | None = COUNT, seed: int = 1) -> pl.DataFrame:
        """QUESTIONS rows through the registry, which checks them; rows set aside are no error."""
        options = dict(cls.make_options(cls.directory()))
        source = QuestionSource(source=cls.name, count=count, options=options)
        return cls.registry().make_questions(cls.name).load(source, split, seed).rows

    def test_rows_are_questions_of_their_split(self) -> None:
        """At least one, each with an id of its own and a user's message at the end."""
        for split in self.splits:
            rows = self.load(split)
            assert rows.height, f"split {split}: no questions"
            assert rows["question_id"].n_unique() == rows.height, f"split {split}: a question_id occurs twice"
            for question_id, messages in rows.select("question_id", "messages").iter_rows():
                roles = [message["role"] for message in messages]
                assert roles and roles[-1] == "user", f"question {question_id}: roles {roles}"
                assert messages[-1]["content"].strip(), f"question {question_id} is empty"

    def test_the_count_is_kept(self) -> None:
        """At most ``count`` questions."""
        for split in self.splits:
            assert self.load(split, count=3).height <= 3, f"split {split}: more questions than count = 3"

    def test_the_same_seed_gives_the_same_questions(self) -> None:
        """A repeated run asks the same, in the same order."""
        for split in self.splits:
            assert self.load(split).equals(self.load(split)), f"split {split}"

    def test_training_and_evaluation_share_no_question(self) -> None:
        """What is evaluated on must not be trained on."""
        if self.disjoint and set(self.splits) >= {"train", "eval"}:
            asked = [
                {str(messages) for messages in self.load(split)["messages"].to_list()}
                for split in ("train", "eval")
            ]
            assert not asked[0] & asked[1], f"in both splits: {sorted(asked[0] & asked[1])[:3]}"

    def test_verifiers_are_known_and_have_an_answer(self) -> None:
        """A question that names a verifier names one that is registered, and has an answer to hold against."""
        known = self.registry().names("verifier")
        for split in self.splits:
            for question_id, answer, verifier in (
                self.load(split).select("question_id", "answer", "verifier").iter_rows()
            ):
                if verifier is not None:
                    assert VerifierSettings.of(verifier).name in known, (
                        f"question {question_id}: verifier {verifier!r}"
                    )
                    assert answer is not None, (
                        f"question {question_id} has verifier {verifier!r} and no answer"
                    )
