"""Cutting the expression out of the sentence that states the answer."""

from __future__ import annotations

import re

from dasd.evaluation.verifiers.answers import final_answer, final_text, first_sentence

__all__ = ["answers_in", "expression_in"]

_SPAN = re.compile(
    r"(?<!\\)\$\$?(?P<dollar>[^$]+?)(?<!\\)\$\$?|\\\((?P<paren>.+?)\\\)|\\\[(?P<bracket>.+?)\\\]", re.DOTALL
)
_BETWEEN = re.compile(r"\s*(?:,?\s*(?:and|or)\b|,|;)\s*", re.IGNORECASE)
_LEAD = re.compile(
    r"^(?:(?:so|thus|hence|therefore|then|finally|and|we|i|get|have|obtain|find|is"
    r"|equals|that|it|which|gives|the|total|value|solution|solutions|are|be|must|simply)\b[\s,:]*)+",
    re.IGNORECASE,
)
_IS = re.compile(
    r"\b(?:is|are|equals|gives|yields|get|obtain|have|be)\b:?\s+(?!\b(?:is|are)\b)", re.IGNORECASE
)
_NUMBERS = re.compile(r"(?<![\w.])[-\u2212]?[$€£]?(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?:/\d+)?(?![\w])")
_THAT_IS = re.compile(r",?\s+(?:i\.e\.|that\s+is),?\s+")
_HEDGED = re.compile(
    r"\b(?:not|n't|isn't|maybe|perhaps|either|neither|don't|cannot|can't|unsure|guess|unknown|could|might)\b",
    re.IGNORECASE,
)
_SUBJECT = re.compile(
    r"^(?:the|so|thus|hence|therefore)\s(?:[^$\d\\.,;:]|\$[a-zA-Z]+(?:\([a-z]\))?\$)*?\s(?:is|are|equals)\s+(?!not\b)",
    re.IGNORECASE,
)
"""``The area of $ABC$ is``."""
_NO_VERB = re.compile(r"[a-zA-Z]{2,}")


def answers_in(response: str) -> str | None:
    """The final answer of a response as an expression, None without one."""
    found = final_answer(final_text(response))
    if found is None:
        return None
    answer, place = found
    if place == "box":
        return answer or None
    return expression_in(answer, stated=place == "mark")


def expression_in(sentence: str, stated: bool) -> str | None:
    """The expression in a sentence, None if it has none or more than one that isn't one list.

    ``stated``: the sentence is what follows "the answer is"; then the first formula counts. Otherwise it is a last
    line, in which the answer has to be the only formula, follow the last "is" or "=", or be the only number.
    """
    if stated:
        sentence = _THAT_IS.split(sentence)[-1]
        sentence = _SUBJECT.sub("", sentence)
    spans = _lists(sentence)
    if spans and stated:
        joined = spans[0]
        lead = sentence[: joined[0].start()]
        if _HEDGED.search(lead):
            return None
        # "12 $\text{cm}$" or "$5$ cm": what stands right beside belongs to it.
        if len(joined) == 1:
            whole = first_sentence(_SPAN.sub(lambda span: " " + _inside(span) + " ", sentence))
            if len(whole) <= len(joined[0][0]) + 30 and not re.search(r"[a-zA-Z]{3,}\s", lead):
                return whole
        return " , ".join(map(_inside, joined))
    if spans:
        if _HEDGED.search(sentence):
            return None
        last = spans[-1]
        return _chain_end(_inside(last[0])) if len(last) == 1 else " , ".join(map(_inside, last))
    clause = first_sentence(sentence) if stated else sentence.strip().rstrip(".*_ ")
    if stated:
        return clause or None
    if _HEDGED.search(clause):
        return None
    clause = clause.strip("*_` ")
    bare = _LEAD.sub("", clause)
    if not _NO_VERB.search(re.sub(r"\\[a-zA-Z]+|sqrt|pi", "", bare)):
        return _chain_end(bare) or None
    said = list(_IS.finditer(clause))
    if said:
        return _chain_end(first_sentence(clause[said[-1].end() :])) or None
    if "=" in clause:
        return _chain_end(clause) or None
    numbers = _NUMBERS.findall(clause)
    if len(numbers) == 1 and not re.search(r"\b(?:or|and)\b|[\"{}<>\[\]]|\w\(", clause):
        return str(numbers[0])
    return clause if len(clause.split()) <= 3 else None


def _lists(sentence: str) -> list[list[re.Match[str]]]:
    """The formulas, those together that only "and", "or" or a comma part."""
    found: list[list[re.Match[str]]] = []
    for span in _SPAN.finditer(sentence):
        if found and _BETWEEN.fullmatch(sentence[found[-1][-1].end() : span.start()]):
            found[-1].append(span)
        else:
            found.append([span])
    return found


def _inside(span: re.Match[str]) -> str:
    return next(inside for inside in span.groups() if inside is not None).strip()


def _chain_end(text: str) -> str:
    """An equation whose left side holds words is cut to what follows its last "="."""
    left, sign, right = text.rpartition("=")
    return right.strip() if sign and len(re.findall(r"(?<!\\)\b[a-zA-Z]{2,}", left)) > 1 else text.strip()
