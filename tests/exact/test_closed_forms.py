"""The stages against exactly known distributions: nothing here needs luck, all seeds are fixed."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.exact.arithmetic import RANKS
from tests.exact.breaks import CHECKS
from tests.exact.checks import check_selection, check_sentences, check_temperature
from tests.exact.checks_on_policy import real_rounds
from tests.exact.checks_torch import SMALL, Trained, check_backend, small_teacher, train_world
from tests.exact.models import Models


@pytest.mark.parametrize("name", list(CHECKS))
def test_the_code_as_it_is_passes(name: str, place: Path, models: Models) -> None:
    CHECKS[name](place, models)


def test_sentences_of_a_student_with_another_tokenizer(place: Path, models: Models) -> None:
    check_sentences(place, models, split=True)


@pytest.mark.parametrize("selector", [name for name in RANKS if name != "divergence"])
def test_selection_is_what_brute_force_picks(selector: str, place: Path, models: Models) -> None:
    check_selection(place, models, selector)


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (1.5, 0.7)])
def test_other_temperatures(temperature: float, top_p: float, place: Path, models: Models) -> None:
    check_temperature(place, models, temperature, top_p)


def test_the_backend_with_a_nucleus(place: Path, models: Models) -> None:
    check_backend(place, models, temperature=1.5, top_p=0.7)


def test_rounds_bring_a_student_to_its_teacher(place: Path, models: Models) -> None:
    """Both are Llamas of one shape, so the divergence at the student's first two tokens can become nothing."""
    run = real_rounds(
        place,
        models,
        3,
        loss="reverse-kl",
        stage={
            "top_k": 64,
            "max_kl": 5.0,
            "candidates": 128,
            "max_tokens": 2,
            "trainer": {"epochs": 40, "learning_rate": 5e-3, "weight_decay": 0.0},
        },
        trainer={"trainer": "torch", "batch_size": 1, "max_length": 2**14},
    )
    found = [run.summary(f"rollout-own-{n}")["reverse_kl_nats_per_token"] for n in (1, 3)]
    assert found[0] > 0.5  # type: ignore[operator]
    assert abs(found[1]) < 0.05  # type: ignore[arg-type]


TRAINING = {"epochs": 300, "learning_rate": 5e-3, "min_learning_rate": 1e-5}


def test_exact_teacher_samples_drive_the_kl_to_nothing(place: Path, models: Models) -> None:
    """Responses as often as their probability says: the loss ends at the teacher's entropy, the KL near 0."""
    run = train_world(place, models, candidates=16, even=True, teacher=SMALL, **TRAINING)
    found = Trained(run, small_teacher())
    assert found.drawn_kl == pytest.approx(found.kl, abs=1e-6), "these responses are the teacher"
    assert 0 < found.kl < 0.005
    assert found.teacher_nats < found.loss < found.teacher_nats + 0.002


def test_drawn_teacher_samples_drive_the_kl_to_the_sampling_floor(place: Path, models: Models) -> None:
    """N draws a question: a student that fits them wholly is as far from the teacher as they are.

    A table of K free parameters fitted to N draws of itself lies K / 2N nats away, in the mean over draws: more
    where an outcome was never drawn, as its logarithm then has no bound but the student's own smoothness.
    """
    count = 64
    run = train_world(place, models, candidates=count, even=False, teacher=SMALL, **TRAINING)
    found = Trained(run, small_teacher())
    floor = found.parameters / 2 / (2 * count)  # K a question: the mean of two
    assert 0 < found.drawn_kl < 0.005
    assert floor / 4 < found.kl < 4 * floor
