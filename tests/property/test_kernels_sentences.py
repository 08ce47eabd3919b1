"""sentence_ends: what holds for every text, and a reference for plain prose."""

from __future__ import annotations

import re
from typing import Any

import polars as pl
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from tests.property.kernel_forms import forms

from dasd import kernels

# Pieces that the rules speak of, thrown together in any order.
PIECES = st.sampled_from(
    [
        *(
            ". ",
            "! ",
            "? ",
            "…",
            "\n",
            "\n\n",
            "。",
            "！",
            "；",
            "...",
            "e.g.",
            "Dr.",
            "No. 7",
            "3.14",
            "A.",
            "5!",
            "U.S.",
        ),
        *("$", "$$", "\\(", "\\)", "\\[", "\\]", "`", "```", "\n```\n", "~~~", "\\", "<think>", "</think>"),
        *(
            '"',
            "”",
            ")",
            "**",
            "- ",
            "1. ",
            " ",
            "\t",
            "\r\n",
            "\u2028",
            "\u00a0",
            "word",
            "Word",
            "é",
            "𝔸",
            "你",
        ),
    ]
)
TEXTS = st.one_of(st.text(max_size=60), st.lists(PIECES, max_size=30).map("".join))


def cut(text: str) -> list[str]:
    """The sentences of one text."""
    data, start, parts = text.encode(), 0, []
    for end in kernels.sentence_ends(pl.Series([text]))[0]:
        parts.append(data[start:end].decode())
        start = end
    return parts


@given(TEXTS)
@example("")
@example(" \n ")
@example("```\n```\n```")
@example("$$\\[`\\(")
def test_sentences_make_up_the_text(text: str) -> None:
    # decode() above fails where an end falls inside a character.
    parts = cut(text)
    assert "".join(parts) == text
    assert all(parts)
    assert bool(parts) == bool(text)
    # White space goes to the sentence before it, and none is a sentence by itself.
    if text.strip():
        assert all(part.strip() for part in parts)
        assert not any(part[0] in " \t\r\n" for part in parts[1:])


@given(st.lists(st.one_of(st.none(), TEXTS), max_size=6), st.data())
def test_rows_are_independent_and_forms_do_not_matter(rows: list[Any], data: st.DataObject) -> None:
    got = kernels.sentence_ends(data.draw(forms(rows, pl.String)))
    assert got.dtype == pl.List(pl.UInt32)
    wanted = [
        None if text is None else kernels.sentence_ends(pl.Series([text]))[0].to_list() for text in rows
    ]
    assert got.to_list() == wanted


PROSE = st.lists(
    st.sampled_from(
        [
            "Well",
            "and",
            "then",
            "Überall",
            "x2",
            "3.14",
            "file.txt",
            ". ",
            "!  ",
            "? ",
            "?! ",
            " ",
            "\n",
            "\n\n",
        ]
    ),
    max_size=25,
).map("".join)


@given(PROSE)
def test_plain_prose_is_cut_behind_stops_and_newlines(text: str) -> None:
    # Factorials (x2! 3.14!), numbers of list items and stops without a word are left to the examples below.
    assume(not re.search(r"\d!|(^|\n)[ .!?]*x2\.|(^|\n|[.!?] |\s)[ ]*[.!?]", text))
    wanted = [part for part in re.sub(r"([.!?]\s+|\n\s*)(?=\S)", r"\1|", text).split("|") if part]
    if wanted and not wanted[0].strip():
        wanted[:2] = ["".join(wanted[:2])]
    assert cut(text) == wanted


@given(st.lists(st.sampled_from(["One. ", "Two\n", "x = 1. Y", "# a\n"]), max_size=6).map("".join), TEXTS)
def test_a_fenced_block_is_one_sentence(inside: str, before: str) -> None:
    before = before.replace("`", "").replace("~", "").replace("$", "").replace("\\", "").replace("<", "")
    block = f"```python\n{inside.rstrip()}\n```\n"
    parts = cut(f"{before} word.\n{block}After. End")
    assert parts[-3:] == [block, "After. ", "End"]


@given(TEXTS)
def test_no_sentence_ends_inside_a_closed_formula(inside: str) -> None:
    inside = re.sub(r"[`$\\\n<]", "", inside)
    for formula in (f"\\({inside}\\)", f"\\[{inside}\\]", f"$${inside}$$", f"$x{inside}y$"):
        parts = cut(f"Word {formula} word. End")
        assert any(formula in part for part in parts), parts


@pytest.mark.parametrize(
    "marked",
    [
        "First. |Second! |Third? |Fourth",
        "Pi is 3.14, version v1.2.3, file a.txt, https://a.b/c?d=e. |Next",
        "Primes, e.g. 2, cf. Smith. |Dr. Who saw Fig. 3. |No. |Then etc. and so on, etc. |End",
        "John F. Kennedy. |The answer is B. |Because.",
        "Wait... |Let us see, 1, 2, ... , 9. |Done",
        "5! = 120 and n! too. |Great! |yes",
        "1. First\n|2. Second. |More",
        'He said "Stop!" and left. |(Fine.) |**Bold.** |End',
        "他说。|你好！|真的？！|是；|不是",
        "Cost $5. |Then $6. |Formula $a. B$ here. |End",
        "So\n|\\[ a = 1. \\\\\n b \\]\n|End",
        "<think>\nHm. |Yes.\n</think>\n\n|Answer",
        "Look:\n|```\na. B\n\nC\n```\n|End",
        "Open $$ here. |More",
        "One.\n|---\nTwo",
    ],
)
def test_documented_examples(marked: str) -> None:
    wanted = marked.split("|")
    assert cut("".join(wanted)) == wanted
