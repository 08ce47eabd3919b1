"""One spelling for the many in which an answer is written: Unicode, LaTeX variants, plain functions."""

from __future__ import annotations

import re
import unicodedata

__all__ = ["LONGEST", "normal", "undressed"]

LONGEST = 1000
"""Characters of the longest answer that is compared; a longer one is no final answer."""

_SIGNS = str.maketrans(
    {
        **dict.fromkeys("\u2212\u2013\u2014\u2012\ufe63\uff0d\u2010\u2011", "-"),
        **dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff\u2061\u2062\u2063", ""),
        "×": " \\times ",
        **dict.fromkeys("·⋅∙", " \\cdot "),
        **dict.fromkeys("÷⁄∕", "/"),
        "π": " \\pi ",
        "∞": " \\infty ",
        **dict.fromkeys("≤⩽", " \\le "),
        **dict.fromkeys("≥⩾", " \\ge "),
        "≠": " \\ne ",
        "∪": " \\cup ",
        "∅": " \\emptyset ",
        "∈": " \\in ",
        "±": " \\pm ",
        **dict.fromkeys("°º", "^\\circ "),
        "θ": " \\theta ",
        "α": " \\alpha ",
        "β": " \\beta ",
        "ℝ": " \\mathbb{R} ",
        **dict.fromkeys("′’‘", "'"),
        **dict.fromkeys("“”", '"'),
    }
)
_POWERS = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺ⁿ", "0123456789-+n", strict=True))
_POWER_RUN = re.compile("[" + "".join(_POWERS) + "]+")
_INDICES = dict(zip("₀₁₂₃₄₅₆₇₈₉", "0123456789", strict=True))
_INDEX_RUN = re.compile("[" + "".join(_INDICES) + "]+")
_ROOT = re.compile(r"√\s*(?:\(([^()]*)\)|\{([^{}]*)\}|(\d+(?:\.\d+)?|[a-zA-Z]))")
_TEXT = re.compile(
    r"\\(?:text(?:bf|it|rm|sf|tt|normal)?|mathrm|mathbf|mathit|mathsf"
    r"|mbox|hbox|operatorname\*?|boldsymbol|bm)\s*\{([^{}]*)\}"
)
_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{([^{}]*)\}")
_SIZES = re.compile(
    r"\\(?:left|right|bigl?|bigr|Bigl?|Bigr|biggl?|biggr|Biggl?|Biggr"
    r"|displaystyle|textstyle|limits)(?![a-zA-Z])\s*(?:\.(?=\s|\\|$))?"
)
_GROUPED = re.compile(r"(?<=\d)(?:,\\!\s*|\\[,!:; ]|\{,\}|~|\u202f|\u2009|\u00a0)(?=\d{3}(?!\d))")
_ROWS = re.compile(r"\\\\(?:\s*\[-?[\d.]+[a-z]+\])?")
_REPEATED = re.compile(r"(?<![\d.])(\d{1,9}\.\d{0,9}?)(\d{1,6}?)\2{2,9}(?:\.\.\.|…|\\[lc]?dots(?![a-zA-Z]))")
_ESCAPED_TWICE = re.compile(r"\\\\(?=[a-zA-Z{}])")
_INLINE = re.compile(r"(?<![\\$])\$([^$]+)(?<!\\)\$(?![\d$])")
_SPACES = re.compile(r"\\[,!:; >]|\\q?quad|~")
_DECIMAL_COMMA = re.compile(r"(?<=\d)\{,\}(?=\d)")
_RELATIONS = (
    (re.compile(r"\\(?:leq(?:slant|q)?|le)(?![a-zA-Z])|<=|=<"), "<="),
    (re.compile(r"\\(?:geq(?:slant|q)?|ge)(?![a-zA-Z])|>="), ">="),
    (re.compile(r"\\(?:neq|ne)(?![a-zA-Z])|!=|\\not\s*="), "!="),
    (re.compile(r"\\lt(?![a-zA-Z])"), "<"),
    (re.compile(r"\\gt(?![a-zA-Z])"), ">"),
)
_FRACTION = re.compile(r"\\[dtc]?frac(?![a-zA-Z])")
_SHORT_FRACTION = re.compile(r"\\frac\s*(\{[^{}]*\}|\d|[a-zA-Z])\s*(\{[^{}]*\}|\d|[a-zA-Z])")
_SHORT_ROOT = re.compile(r"\\sqrt\s*(\[[^\]]*\])?\s*(\d|[a-zA-Z])")
_PLAIN_ROOT = re.compile(r"(?<![a-zA-Z\\])sqrt\s*(?:\(([^()]*)\)|\{([^{}]*)\}|(\d+))", re.IGNORECASE)
_PLAIN_FUNCTION = re.compile(
    r"(?<![a-zA-Z\\])(arcsin|arccos|arctan|sin|cos|tan|sec|csc|cot|log|ln|exp)(?=[\s({\\^\d]|[a-zA-Z]\b)"
)
_PLAIN_NAME = re.compile(r"(?<![a-zA-Z\\])(pi|theta|infinity|infty|inf|oo)(?![a-zA-Z])")
_NAMES = {"pi": "\\pi ", "theta": "\\theta "}
_EXPONENT = re.compile(r"\^\s*(?:(-?\d+(?!\d))|\((-?[^()^]*)\)|(-[a-zA-Z]))")
_CIRC = re.compile(
    r"\^\s*(?:\{\s*\\circ\s*\}|\\circ(?![a-zA-Z]))|\\degree(?![a-zA-Z])|\\textdegree(?![a-zA-Z])"
)
_CDOTS = re.compile(r"\\(?:cdot|times|ast)(?![a-zA-Z])|(?<!\*)\*(?!\*)")
_DELIMITERS = (
    ("$$", "$$"),
    ("$", "$"),
    ("\\(", "\\)"),
    ("\\[", "\\]"),
    ("**", "**"),
    ("`", "`"),
    ("__", "__"),
)
_EMPTY = re.compile(r"\\\{\s*\\\}")
_END = re.compile(r"[\s.,;:!?]+$")


def undressed(text: str) -> str:
    """``text`` without what surrounds all of it: dollar signs, brackets of display formulas, emphasis."""
    text = text.strip()
    changed = True
    while changed:
        changed = False
        for opening, closing in _DELIMITERS:
            inner = text[len(opening) : len(text) - len(closing)]
            if (
                len(text) > len(opening) + len(closing)
                and text.startswith(opening)
                and text.endswith(closing)
                and opening not in inner
                and not inner.endswith("\\" if closing == "$" else "\0")
            ):
                text, changed = inner.strip(), True
        shorter = _END.sub("", text)
        # ``3!`` is a factorial and ``\,`` no comma.
        if (
            shorter != text
            and not text[len(shorter) :].strip().startswith("!")
            and not shorter.endswith("\\")
        ):
            text, changed = shorter, True
    return text


def normal(text: str) -> str:
    r"""``text`` in one spelling.

    Unicode signs, digits of any script and superscripts become LaTeX or ASCII; ``\dfrac``, ``\left``, spacing,
    ``\text{}`` and short forms as ``\frac12`` or ``sqrt(2)`` become the plain form; products are ``\cdot``,
    relations ``< <= > >= != =``, a degree is ``^\circ``; white space is single.
    """
    text = undressed(_REPEATED.sub(r"\1\\overline{\2}", text))
    text = _unicode(text)
    if "\\begin" not in text:
        text = _ESCAPED_TWICE.sub(r"\\", text)
    text = _INLINE.sub(r" \1 ", text)
    text = _ROWS.sub(r" \\newline ", text)
    text = _GROUPED.sub("", text)
    text = _DECIMAL_COMMA.sub(".", text)
    for _ in range(3):
        text = _BOX.sub(r"\1", text)
        text = _TEXT.sub(r" \1 ", text)
    text = _CIRC.sub(r"^\\circ ", text)
    text = _SIZES.sub("", text)
    text = _SPACES.sub(" ", text)
    text = text.replace("\\%", "%").replace("\\lbrace", "\\{").replace("\\rbrace", "\\}")
    text = text.replace("**", "^")
    for pattern, sign in _RELATIONS:
        text = pattern.sub(sign, text)
    text = _FRACTION.sub(r"\\frac", text)
    text = _PLAIN_ROOT.sub(lambda m: "\\sqrt{" + next(g for g in m.groups() if g is not None) + "}", text)
    text = _PLAIN_FUNCTION.sub(r"\\\1 ", text)
    text = _PLAIN_NAME.sub(lambda m: _NAMES.get(m[1], "\\infty "), text)
    text = _SHORT_ROOT.sub(r"\\sqrt\1{\2}", text)
    text = _SHORT_FRACTION.sub(
        lambda m: "\\frac" + "".join(g if g[0] == "{" else "{" + g + "}" for g in m.groups()), text
    )
    text = _EXPONENT.sub(lambda m: "^{" + next(g for g in m.groups() if g is not None) + "}", text)
    text = _CDOTS.sub(r"\\cdot ", text)
    text = text.replace("\\varnothing", "\\emptyset").replace("\\$", "$").replace("\\mathbb R", "\\mathbb{R}")
    text = _EMPTY.sub(r"\\emptyset", text).replace("\\langle", "(").replace("\\rangle", ")")
    return undressed(" ".join(text.split()))


def _unicode(text: str) -> str:
    if text.isascii():
        return text
    text = _POWER_RUN.sub(lambda m: "^{" + "".join(_POWERS[c] for c in m[0]) + "}", text)
    text = _INDEX_RUN.sub(lambda m: "_{" + "".join(_INDICES[c] for c in m[0]) + "}", text)
    out = []
    for c in text:
        form = unicodedata.decomposition(c)
        if form.startswith("<fraction>"):
            top, bottom = unicodedata.normalize("NFKC", c).split("\u2044")
            out.append(f"\\frac{{{top}}}{{{bottom}}}")
        elif not c.isascii() and c.isdecimal():
            out.append(str(unicodedata.decimal(c)))
        else:
            out.append(c)
    text = _ROOT.sub(lambda m: "\\sqrt{" + next(g for g in m.groups() if g is not None) + "}", "".join(out))
    text = text.translate(_SIGNS)
    return unicodedata.normalize("NFKC", text).translate(_SIGNS)
