"""What goes over the pipes of a worker: messages of any size, records, errors."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from dasd import errors
from dasd.base.records import (
    ContinueRequest,
    Message,
    SampledTokens,
    SampleRequest,
    SamplingSpec,
    ScoreRequest,
    ScoringSpec,
)
from dasd.base.schemas import SAMPLES
from dasd.models.remote.channel import MAGIC, Channel, ChannelClosed, frame_body, frame_of
from dasd.models.remote.messages import Continue, Failure, Hello, Open, Sample, Score, decode, encode
from dasd.recipe.model_settings import ModelSettings

TURNS = (Message("system", "be brief"), Message("user", 'Grüße\n\t"中文" 😀\x00'))


def never() -> None:
    raise AssertionError("it waited although everything was there")


class Pipes:
    """Two channels, each the other's end."""

    def __init__(self) -> None:
        there, ours_out = os.pipe()
        ours, there_out = os.pipe()
        self.descriptors = [there, ours_out, ours, there_out]
        self.here, self.there = Channel(ours, ours_out, never), Channel(there, there_out, never)

    def close(self, index: int) -> None:
        os.close(self.descriptors[index])
        self.descriptors[index] = -1


@pytest.fixture
def pipes() -> Iterator[Pipes]:
    made = Pipes()
    yield made
    for descriptor in made.descriptors:
        if descriptor >= 0:
            os.close(descriptor)


def test_messages_arrive_whole_and_in_order_whatever_their_size(pipes: Pipes) -> None:
    bodies = [b"", b"x", os.urandom(300), os.urandom(3_000_000), b"end"]

    def write() -> None:
        for number, body in enumerate(bodies):
            pipes.there.send("frame", number, body)

    writer = threading.Thread(target=write)
    writer.start()
    got = [pipes.here.receive() for _ in bodies]
    writer.join()
    assert [message.body for message in got] == bodies
    assert [(message.kind, message.number) for message in got] == [("frame", n) for n in range(len(bodies))]


@pytest.mark.parametrize("before", [b"", b"hello\n", MAGIC[:5], MAGIC[:-1] + b"x" + MAGIC[:3], b"y" * 70_000])
def test_what_was_printed_before_the_first_message_is_set_aside(pipes: Pipes, before: bytes) -> None:
    def write() -> None:
        pipes.there.send_raw(before + MAGIC)
        pipes.there.send("hello", body=b"{}")

    writer = threading.Thread(target=write)
    writer.start()
    assert pipes.here.skip_magic() == before
    assert pipes.here.receive().kind == "hello"
    writer.join()


def test_a_closed_end_is_noticed_when_reading_and_when_writing(pipes: Pipes) -> None:
    pipes.there.send("end", 1)
    pipes.close(3)
    assert pipes.here.receive().kind == "end"
    with pytest.raises(ChannelClosed):
        pipes.here.receive()
    pipes.close(0)
    with pytest.raises(ChannelClosed):
        pipes.here.send("cancel", 1)


def test_an_end_in_the_middle_of_a_message_is_no_message(pipes: Pipes) -> None:
    pipes.there.send_raw(b"\x08\x00\x00")
    pipes.close(3)
    with pytest.raises(ChannelClosed):
        pipes.here.receive()


def test_waiting_asks_whether_to_go_on(pipes: Pipes) -> None:
    def stop() -> None:
        raise ChannelClosed

    with pytest.raises(ChannelClosed):
        Channel(pipes.descriptors[2], pipes.descriptors[1], stop).receive()


def test_requests_arrive_as_they_were() -> None:
    spec = SamplingSpec("low", 0.1 + 0.2, 1.0, 8)
    sample = Sample(
        (SampleRequest("s", "q", TURNS, 3, 2**64 - 1), SampleRequest("t", "q", (), 0, 0, 5)), spec
    )
    go_on = Continue((ContinueRequest("s", "q", TURNS, 0, 1, "<think>\n", 7),), spec)
    tokens = SampledTokens([1, 2**32 - 1], [1, 2], "hash")
    score = Score(
        (ScoreRequest("s", TURNS, "a\r\n", True, tokens), ScoreRequest("t", TURNS, "", False)),
        ScoringSpec("score", 512, top=64),
    )
    for record in (sample, go_on, score):
        assert decode(type(record), encode(record)) == record
    settings = ModelSettings(model="m", python="/x/bin/python", options={"a": [1, None, {"b": 0.1}]})
    assert decode(Open, encode(Open(settings))).settings == settings


@given(st.floats(allow_nan=False, allow_infinity=False), st.integers(0, 2**64 - 1))
def test_numbers_arrive_to_the_last_bit(number: float, seed: int) -> None:
    sample = Sample((SampleRequest("s", "q", (), 0, seed),), SamplingSpec("low", number, 1.0, 8))
    assert decode(Sample, encode(sample)) == sample


def test_other_records_are_refused() -> None:
    with pytest.raises(ValidationError):
        decode(Hello, b'{"protocol": 1}')


def test_frames_arrive_as_they_were() -> None:
    frame = SAMPLES.empty()
    assert frame_of(frame_body(frame)).schema == frame.schema
    values = pl.DataFrame({"p": [[-0.1, float("nan"), None], None], "t": ["é\x00", None]}).with_columns(
        pl.col("p").cast(pl.List(pl.Float32))
    )
    back = frame_of(frame_body(values))
    assert back.schema == values.schema
    assert back.equals(values)


@pytest.mark.parametrize("name", errors.__all__)
def test_every_error_arrives_as_itself(name: str) -> None:
    sent = getattr(errors, name)("wanted this, got that")
    came = decode(Failure, encode(Failure.of(sent))).exception()
    assert type(came) is type(sent)
    assert str(came) == str(sent)


def test_errors_of_others_arrive_as_the_nearest_of_ours_or_by_name() -> None:
    class Own(errors.InputError):
        """A plugin's."""

    came = Failure.of(Own("no")).exception()
    assert type(came) is errors.InputError
    other = Failure.of(KeyError("weights"))
    assert other.exception() is None
    assert other.text == "KeyError: 'weights'"
