"""A GGUF file in fp32 of a Llama in a Hugging Face directory, as llama.cpp's converter writes it."""

from __future__ import annotations

import json
from pathlib import Path

import gguf
import numpy as np
from safetensors.numpy import load_file

_NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def write(source: Path, target: Path) -> None:
    """Write ``target`` from the model directory ``source``, whose tokenizer is a byte-level BPE."""
    config = json.loads((source / "config.json").read_text())
    writer = gguf.GGUFWriter(target, "llama")
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_rope_dimension_count(config["head_dim"])
    _tokenizer(writer, source, config)
    for name, weight in load_file(source / "model.safetensors").items():
        array = weight.astype(np.float32)
        for part, heads in (("q_proj", "num_attention_heads"), ("k_proj", "num_key_value_heads")):
            if part in name:  # llama.cpp turns neighbours, transformers the two halves of a head
                array = (
                    array.reshape(config[heads], 2, -1, array.shape[1]).swapaxes(1, 2).reshape(array.shape)
                )
        plain = name.removeprefix("model.layers.").removesuffix(".weight")
        layer, _, rest = plain.partition(".")
        writer.add_tensor(
            f"blk.{layer}.{_NAMES[rest]}.weight" if layer.isdigit() else f"{_NAMES[plain]}.weight", array
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _tokenizer(writer: gguf.GGUFWriter, source: Path, config: dict[str, int]) -> None:
    found = json.loads((source / "tokenizer.json").read_text())
    tokens = {token_id: token for token, token_id in found["model"]["vocab"].items()}
    kinds = dict.fromkeys(tokens, gguf.TokenType.NORMAL)
    for added in found["added_tokens"]:
        tokens[added["id"]] = added["content"]
        kinds[added["id"]] = gguf.TokenType.CONTROL if added["special"] else gguf.TokenType.USER_DEFINED
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([tokens[n] for n in range(config["vocab_size"])])
    writer.add_token_types([kinds[n] for n in range(config["vocab_size"])])
    writer.add_token_merges([" ".join(pair) for pair in found["model"]["merges"]])
    writer.add_bos_token_id(config["bos_token_id"])
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_chat_template((source / "chat_template.jinja").read_text())
