"""What every stage of a recipe has to do: requests, tokens, rows, steps, with bounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import reduce, singledispatchmethod
from math import ceil
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dasd.curation.sources.values import UNREADABLE, ValueFile
from dasd.pipeline.plan.amounts import at_most, least, rounded, scaled, times, total, with_balance, with_share
from dasd.pipeline.plan.data import TakenFacts
from dasd.pipeline.plan.lengths import Lengths
from dasd.pipeline.plan.measured import Done
from dasd.pipeline.plan.questions import QuestionFacts
from dasd.pipeline.plan.records import (
    LIKELIEST_BYTES,
    NONE,
    UNKNOWN,
    Amount,
    Generation,
    Scoring,
    StageWork,
    Training,
)
from dasd.pipeline.plan.steps import exact_training, expected_training
from dasd.pipeline.stages.dedup import DedupStage
from dasd.pipeline.stages.evaluate import EvaluateStage
from dasd.pipeline.stages.filter import FilterStage
from dasd.pipeline.stages.from_files import GivenSamplesStage
from dasd.pipeline.stages.from_run import (
    TakenHeldoutStage,
    TakenMixStage,
    TakenSamplesStage,
    TakenSelectStage,
)
from dasd.pipeline.stages.mix import MixStage
from dasd.pipeline.stages.quotas import ANY, asked_counts, limits
from dasd.pipeline.stages.report import ReportStage
from dasd.pipeline.stages.rollout import RolloutStage
from dasd.pipeline.stages.sample import SampleStage
from dasd.pipeline.stages.score import ScoreStage
from dasd.pipeline.stages.select import SelectStage
from dasd.pipeline.stages.train import TrainStage
from dasd.pipeline.stages.train_round import TrainRoundStage
from dasd.pipeline.work.stage import Stage
from dasd.recipe.settings import RecipeSettings
from dasd.recipe.training_settings import TrainerSettings
from dasd.results.report.distilled import RESPONSES

__all__ = ["WorkPlanner"]


class WorkPlanner:
    """Goes through the stages in their order; a stage's estimate rests on those before it."""

    def __init__(
        self,
        settings: RecipeSettings,
        questions: QuestionFacts,
        lengths: Lengths,
        selected: Mapping[str, npt.NDArray[np.int64]],
        taken: TakenFacts,
    ) -> None:
        """``selected``: tokens of the training rows that a finished select stage chose, by its name.

        ``taken``: responses of another run.
        """
        self._settings = settings
        self._train = questions.train
        self._evaluation = questions.evaluation
        self._benchmarks = questions.benchmarks
        self._askable = questions.askable
        self._asked: dict[str, dict[str, int]] = {}
        self._lengths = lengths
        self._known = selected
        self._taken = taken
        self._responses: dict[str, Amount] = {}
        self._selected: dict[str, Amount] = {}
        self._mixed: dict[str, Amount] = {}

    def work(self, stage: Stage, done: Done | None) -> StageWork:
        """Work of ``stage``; of one that is done what it did."""
        if done is None:
            return self._work(stage)
        if stage.passes_on is not None:
            passed = {"responses": self._responses, "selected": self._selected, "kept": self._mixed}
            passed[stage.passes_on][stage.name] = Amount.exactly(done.number(stage.passes_on))
        return _did(stage, done)

    @singledispatchmethod
    def _work(self, stage: Stage) -> StageWork:
        """Work of a stage of this class; of one that nothing is registered for here: it looks at every question."""
        del stage
        return StageWork(rows=total(self._train, self._evaluation))

    @_work.register
    def _judge(self, stage: FilterStage | DedupStage) -> StageWork:
        return StageWork(rows=self._responses[stage.samples])

    @_work.register
    def _sample(self, stage: SampleStage) -> StageWork:
        questions = self._evaluation if stage.split == "eval" else self._asked_by(stage)
        if stage.bounds is not None and stage.split == "eval":
            questions = at_most(questions, stage.bounds[ANY])
        requests = times(questions, stage.candidates)
        self._responses[stage.name] = requests
        cap = self._lengths.most(stage.name)
        tokens = scaled(requests, self._lengths.response(stage.name), cap)
        return StageWork(rows=requests, generates=(Generation("teacher", requests, tokens),))

    def _asked_by(self, stage: SampleStage) -> Amount:
        """Training questions that a stage asks, all of its domains together."""
        there = self._askable.get(self._stage_of(stage.name))
        if there is None:
            return UNKNOWN
        asked = asked_counts(stage.bounds, there.domains, there.unsaid)
        self._asked[stage.name] = asked
        count = sum(asked.values())
        return Amount(count, count, exact=there.exact)

    @_work.register
    def _given(self, stage: GivenSamplesStage) -> StageWork:
        rows = _rows_of_files(stage)
        self._responses[stage.name] = rows
        return StageWork(rows=rows)

    @_work.register
    def _take(
        self, stage: TakenSamplesStage | TakenHeldoutStage | TakenSelectStage | TakenMixStage
    ) -> StageWork:
        """Copying; what turns out to be over the training context is still in it, so rows are bounds."""
        if isinstance(stage, TakenHeldoutStage):
            most = at_most(self._evaluation, self._settings.evaluation.heldout)
            asked = Amount(most.expected, most.most)
            self._responses[stage.name] = asked
            tokens = scaled(asked, self._lengths.response(stage.name), self.cap_of_heldout())
            return StageWork(rows=asked, takes=Scoring("teacher", asked, tokens))
        found = self._taken.of(stage.stage.name)
        if isinstance(stage, TakenMixStage) and found == UNKNOWN and stage.stage.questions is not None:
            found = Amount(None, stage.stage.questions)
        bound = Amount(found.expected, found.most)
        if isinstance(stage, TakenSelectStage):
            self._selected[stage.name] = bound
            return StageWork(rows=found)
        if isinstance(stage, TakenMixStage):
            self._mixed[stage.name] = bound
        else:
            self._responses[stage.name] = found
        trainer = self._settings.trainer_for(stage.stage)
        tokens = scaled(found, self._taken_tokens(stage.stage.name), trainer.max_length)
        return StageWork(rows=found, takes=Scoring("teacher", found, tokens))

    def _taken_tokens(self, name: str) -> float | None:
        """Mean tokens of a response that training ``name`` takes from another run."""
        known = self._taken.tokens.get(name)
        if known is None:
            return self._lengths.response_of_student(f"sample-{name}")
        self._lengths.assume(
            f"responses of {known:.1f} tokens on average for {name}: those of run {self._taken.run}"
        )
        return known

    @_work.register
    def _score(self, stage: ScoreStage) -> StageWork:
        of = self._stage_of(stage.samples)
        responses = self._responses[stage.samples]
        share = self._lengths.kept_share(of)
        kept = Amount(rounded(responses.expected, share), responses.most)
        longest = self._lengths.longest_of_student(self._trainer(of))
        tokens = scaled(kept, self._lengths.response_of_student(stage.samples), longest)
        return StageWork(rows=kept, scores=(Scoring("student", kept, tokens),))

    @_work.register
    def _select(self, stage: SelectStage) -> StageWork:
        responses = self._responses[stage.samples]
        per_question = self._settings.select_for(stage.stage).per_question
        share = self._lengths.kept_share(self._stage_of(stage.samples))
        candidates = self._settings.sampling_for(stage.stage).candidates
        each = min(per_question, candidates * share)
        bounds = limits(stage.stage)
        asked = self._asked.get(stage.samples)
        if asked is None:  # responses from files, or sources that couldn't be counted
            questions = self._train
            expected, most = rounded(questions.expected, each), times(questions, per_question).most
        elif bounds is None or ANY in bounds:
            expected, most = round(sum(asked.values()) * each), sum(asked.values()) * per_question
        else:
            expected = sum(min(round(asked[d] * each), bound) for d, bound in bounds.items())
            most = sum(min(asked[d] * per_question, bound) for d, bound in bounds.items())
        selected = Amount(least(expected, responses.expected), least(most, responses.most))
        self._selected[stage.name] = at_most(selected, stage.stage.total)
        return StageWork(rows=responses)

    @_work.register
    def _mix(self, stage: MixStage) -> StageWork:
        questions = at_most(self._train, stage.stage.questions)
        selected = self._selected[stage.select]
        asked = Amount(least(questions.expected, selected.expected), least(questions.most, selected.most))
        drifted, kept = self._lengths.mixed() or (None, None)
        answer = self._lengths.answer()
        response = self._lengths.response_of_student(stage.samples)
        longest = self._lengths.longest_of_student(self._trainer(self._stage_of(stage.samples)))
        cap = stage.stage.cap
        most = None if longest is None else self._lengths.cap("student", ceil(cap * longest))
        answers = scaled(
            asked, None if answer is None or response is None else min(answer, cap * response), most
        )
        continued = Amount(rounded(asked.expected, drifted), asked.most)
        teacher_cap = self._lengths.cap("teacher", self._settings.sampling.max_tokens)
        written = scaled(continued, self._lengths.response(stage.samples), teacher_cap)
        self._mixed[stage.name] = Amount(rounded(continued.expected, kept), asked.most)
        return StageWork(
            rows=total(asked, continued),
            generates=(
                Generation("student", asked, answers),
                Generation("teacher", continued, written),
            ),
        )

    @_work.register
    def _training(self, stage: TrainStage) -> StageWork:
        settings = self._settings.trainer_for(stage.stage)
        selected = self._selected[stage.select]
        known = self._known.get(stage.select)
        if stage.mix is None and known is not None and len(known):
            trains = exact_training(known, settings, self._settings.seed, stage.name)
            return StageWork(rows=trains.rows, trains=trains)
        rows = selected
        longest = settings.max_length
        if stage.mix is not None:
            mixed = self._mixed[stage.mix]
            balance: float = getattr(stage.stage, "balance", 0.0)
            rows = Amount(
                with_balance(mixed.expected, selected.expected, balance),
                with_balance(mixed.most, selected.most, balance),
            )
        else:
            response = self._lengths.longest_of_student(settings)
            prompts = self._lengths.prompts["student"]
            if response is not None and prompts is not None:
                longest = min(longest, prompts.longest + response)
        of_response = (
            self._lengths.response_of_student(stage.samples)
            if self._settings.data is None
            else self._taken_tokens(self._stage_of(stage.samples))
        )
        row = None if of_response is None else self._lengths.prompt() + of_response
        trains = expected_training(rows, row, longest, settings)
        return StageWork(rows=rows, trains=trains)

    @_work.register
    def _rollout(self, stage: RolloutStage) -> StageWork:
        asked = times(at_most(self._train, stage.stage.questions), stage.stage.candidates)
        self._responses[stage.name] = asked
        most = self._lengths.cap("student", stage.stage.max_tokens or self._settings.sampling.max_tokens)
        tokens = scaled(asked, self._lengths.answer(), most)
        return StageWork(
            rows=asked,
            generates=(Generation("student", asked, tokens),),
            scores=(Scoring("teacher", asked, tokens, stage.top),),
        )

    @_work.register
    def _round(self, stage: TrainRoundStage) -> StageWork:
        settings = self._settings.trainer_for(stage.stage)
        own = self._responses[stage.rollout.name]
        rows = with_share(own, stage.stage.off_policy_share)
        answer = self._lengths.answer()
        row = None if answer is None else self._lengths.prompt() + answer
        trains = expected_training(rows, row, settings.max_length, settings)
        told = (1 + stage.rollout.top) * LIKELIEST_BYTES
        return StageWork(rows=rows, trains=replace(trains, told=told))

    @_work.register
    def _evaluate(self, stage: EvaluateStage) -> StageWork:
        generates = []
        for benchmark in self._benchmarks:
            asked = times(benchmark.questions, benchmark.how.attempts)
            cap = self._lengths.cap("student", benchmark.how.max_tokens)
            tokens = scaled(asked, self._lengths.answer(benchmark.how.max_tokens), cap)
            generates.append(Generation("student", asked, tokens, benchmark.label))
        requests = reduce(total, (part.requests for part in generates), NONE)
        scores: tuple[Scoring, ...] = ()
        if stage.heldout is not None:
            responses = self._responses[stage.heldout]
            longest = self.cap_of_heldout()
            scored = scaled(responses, self._lengths.response_of_student(stage.heldout), longest)
            scores = (Scoring("student", responses, scored),)
        return StageWork(rows=requests, generates=tuple(generates), scores=scores)

    def cap_of_heldout(self) -> int | None:
        """Most tokens of a held-out response in the student's tokens: no length filter has seen it."""
        if self._lengths.shared_tokenizer:
            return self._lengths.most("sample-heldout")
        return self._lengths.contexts["student"]

    @_work.register
    def _report(self, stage: ReportStage) -> StageWork:
        del stage
        if (
            not self._selected or self._settings.data is not None
        ):  # without sentences there is nothing to score
            return StageWork(rows=NONE)
        name, selected = list(self._selected.items())[-1]
        responses = at_most(selected, RESPONSES)
        of = name.removeprefix("select-")
        longest = self._lengths.longest_of_student(self._trainer(of))
        tokens = scaled(responses, self._lengths.response_of_student(f"sample-{of}"), longest)
        return StageWork(rows=responses, scores=(Scoring("student", responses, tokens),))

    # -- helpers -----------------------------------------------------------------------------------

    def _stage_of(self, samples: str) -> str:
        return samples.removeprefix("sample-")

    def _trainer(self, name: str) -> TrainerSettings:
        stage = next(stage for stage in self._settings.stages if stage.name == name)
        return self._settings.trainer_for(stage)


def _did(stage: Stage, done: Done) -> StageWork:
    """What a finished stage did."""
    tokens, number = done.tokens, Amount.exactly
    generates = []
    if tokens.student_requests:
        generates.append(
            Generation("student", number(tokens.student_requests), number(tokens.student_tokens))
        )
    if tokens.teacher_requests and not isinstance(
        stage, (GivenSamplesStage, TakenSamplesStage, TakenHeldoutStage)
    ):
        generates.append(
            Generation("teacher", number(tokens.teacher_requests), number(tokens.teacher_tokens))
        )
    scores: tuple[Scoring, ...] = ()
    if tokens.scored_responses:
        scores = (Scoring("student", number(tokens.scored_responses), number(tokens.scored_tokens)),)
    trains = None
    if isinstance(stage, TrainStage | TrainRoundStage):
        trained, in_rows, seen, steps = (
            number(done.number(key)) for key in ("rows", "row_tokens", "tokens", "steps")
        )
        trains = Training(trained, in_rows, seen, steps)
    rows = done.rows.get(stage.frame, 0)
    return StageWork(number(rows), tuple(generates), scores, trains)


def _rows_of_files(stage: GivenSamplesStage) -> Amount:
    """Rows of response files: a bound, as bad ones are set aside."""
    rows = 0
    for name in stage.stage.samples:
        path = Path(name)
        if not path.is_file():
            return UNKNOWN
        file = ValueFile(path, "response")
        if file.is_parquet:
            import polars as pl

            try:
                rows += int(pl.scan_parquet(path, glob=False).select(pl.len()).collect().item())
            except UNREADABLE as error:
                raise file.torn(error) from error
        else:
            rows += sum(1 for _ in file)
    return Amount(rows, rows)
