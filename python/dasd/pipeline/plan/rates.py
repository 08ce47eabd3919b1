"""Tokens a second of each kind of work: given, measured in the run, or estimated from sizes and FLOP/s."""

from __future__ import annotations

from dataclasses import dataclass, field

from dasd.pipeline.plan.measured import Measured, RateKind
from dasd.pipeline.plan.records import Given, ModelPlan, ModelRole
from dasd.recipe.settings import RecipeSettings
from dasd.recipe.training_settings import TrainerSettings

__all__ = ["H100_FLOPS", "Rates"]

H100_FLOPS = 989e12
"""Peak of one NVIDIA H100 SXM in bf16 without sparsity, by its data sheet: the device that stands for others
where none is given."""

GENERATE_UTILISATION = 0.10
"""Share of the peak that batched decoding reaches: it reads all weights for every token of a batch."""
SCORE_UTILISATION = 0.40
TRAIN_UTILISATION = 0.40

LOCAL_BACKENDS = ("transformers", "vllm")
"""Backends that run the model on this run's own devices."""


@dataclass
class Rates:
    """Rates in tokens a second of all devices together. Grounds are kept in ``assumptions``."""

    settings: RecipeSettings
    given: Given
    measured: Measured
    models: dict[ModelRole, ModelPlan]
    assumptions: dict[str, None] = field(default_factory=dict)

    def generating(self, role: ModelRole) -> float | str:
        """New tokens of a model; or why that is unknown."""
        option = "--rate" if role == "teacher" else "--student-rate"
        given = self.given.rate if role == "teacher" else self.given.student_rate
        if given is None and role == "student" and self.settings.student.model == self.settings.teacher.model:
            given = self.given.rate  # the same model
        return self._known(role, given, f"{role} generates", option) or self._estimated(
            role, 2, GENERATE_UTILISATION, f"{role} generates", option
        )

    def scoring(self, role: ModelRole) -> float | str:
        """Scored tokens of a model; or why that is unknown."""
        what = f"{role} scores"
        return self._known("score", self.given.score_rate, what, "--score-rate") or self._estimated(
            role, 2, SCORE_UTILISATION, what, "--score-rate"
        )

    def training(self, trainer: TrainerSettings) -> float | str:
        """Trained tokens; or why that is unknown."""
        passes = 8 if trainer.gradient_checkpointing else 6
        if trainer.adapter is not None:
            passes -= 2  # frozen weights have no gradients of their own
        known = self._known("train", self.given.train_rate, "training", "--train-rate")
        if known is not None:
            return known
        if trainer.device == "cpu":
            return "training runs on the CPU, of which no FLOP/s are assumed: give --train-rate"
        return self._by_flops("student", passes, TRAIN_UTILISATION, "training", "--train-rate")

    def _known(self, kind: RateKind, given: float | None, what: str, option: str) -> float | None:
        if given is not None:
            self._assume(f"{what}: {given:,.0f} tokens/s ({option})")
            return given
        measured = self.measured.rate(kind)
        if measured is not None:
            self._assume(f"{what}: {measured:,.0f} tokens/s, measured in this run, loading included")
        return measured

    def _estimated(
        self, role: ModelRole, flops: int, utilisation: float, what: str, option: str
    ) -> float | str:
        settings = getattr(self.settings, role)
        if settings.backend not in LOCAL_BACKENDS:
            return f"{what} on backend {settings.backend!r}, whose devices are not known: give {option}"
        if settings.device == "cpu":
            return f"{what} on the CPU, of which no FLOP/s are assumed: give {option}"
        return self._by_flops(role, flops, utilisation, what, option)

    def _by_flops(
        self, role: ModelRole, flops: int, utilisation: float, what: str, option: str
    ) -> float | str:
        """2 FLOP a parameter and token forwards, 6 with the way back (Kaplan et al., arXiv 2001.08361), 8 when
        activations are computed twice; 2 less where only an adapter is trained. Attention over long contexts is not in it, so it errs to the fast side.
        """
        parameters = self.models[role].active_parameters
        if parameters is None:
            return f"{role}'s parameter count is unknown: give {option}, or --{role}-params"
        peak = self.given.flops or H100_FLOPS
        device = "a device of" if self.given.flops else "an H100 with"
        rate = self.given.devices * peak * utilisation / (flops * parameters)
        self._assume(
            f"{what}: {rate:,.0f} tokens/s, an estimate: {flops} FLOP a parameter and token, "
            f"{parameters / 1e9:.3g} G parameters, {self.given.devices} x {device} {peak / 1e12:,.0f} TFLOP/s at "
            f"{utilisation:.0%}; attention not counted"
        )
        return rate

    def _assume(self, text: str) -> None:
        self.assumptions[text] = None
