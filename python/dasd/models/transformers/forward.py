"""Forward passes whose logits are made only where they are wanted, and never all at once."""

from __future__ import annotations

from typing import Any

import torch

from dasd.models.devices import any_length_attention
from dasd.models.transformers.cache import new_cache
from dasd.models.transformers.likeliest import Likeliest

__all__ = ["LOGIT_BLOCK", "Forward"]

LOGIT_BLOCK = 1 << 26
"""Elements of a block of float32 logits: 256 MiB."""
# Query-key pairs of a chunk that needs an explicit attention mask.
_MASK_PAIRS = 1 << 27
_SMALLEST_CHUNK = 256


class Forward:
    """A causal language model split into its body and its head.

    ``run`` gives features of each position; ``logits`` makes logits of features. For nearly all models
    features are the last hidden states. Where a model does something of its own between the two (checked once
    with a short text), features are the logits themselves and forward passes are kept short instead.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._head: Any = model.get_output_embeddings()
        self._split = self._is_split()

    @property
    def device(self) -> torch.device:
        """Where inputs have to be."""
        return torch.device(self._model.device)

    @property
    def vocabulary(self) -> int:
        """Tokens that there is a logit of."""
        return int(self._model.config.get_text_config(decoder=True).vocab_size)

    @torch.inference_mode()
    def run(
        self,
        ids_b_t: torch.Tensor,
        cache: Any | None,
        mask_b_s: torch.Tensor | None = None,
        positions_b_t: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Features [B, T, F] of tokens that follow those in ``cache``, which takes them in.

        ``mask_b_s`` (1 for tokens, 0 for padding) covers the cache and the new tokens; None: no padding.
        """
        arguments: dict[str, Any] = {"input_ids": ids_b_t, "use_cache": cache is not None}
        if cache is not None:
            arguments["past_key_values"] = cache
        if mask_b_s is not None:
            arguments["attention_mask"] = mask_b_s
        if positions_b_t is not None:
            arguments["position_ids"] = positions_b_t
        with any_length_attention(self.device):
            if self._split:
                features: torch.Tensor = self._model.base_model(**arguments).last_hidden_state
            else:
                features = self._model(**arguments).logits
        return features

    @torch.inference_mode()
    def logits(self, features: torch.Tensor) -> torch.Tensor:
        """Logits [..., V] in float32 of features [..., F]."""
        made: torch.Tensor = self._head(features) if self._split else features
        return made.float()

    @torch.inference_mode()
    def prefill(
        self,
        ids_b_t: torch.Tensor,
        wanted_b_t: torch.Tensor,
        token_budget: int,
        cache: Any | None,
        mask_b_t: torch.Tensor | None = None,
        likeliest: Likeliest | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Run whole sequences, in chunks of at most ``token_budget`` tokens (padding counted) each.

        Returns log-probabilities [B, T] (float32, nats, temperature 1) of the tokens that ``wanted_b_t``
        marks, zero elsewhere, and the features [B, F] of the last position. A first token can't be wanted.
        ``likeliest`` gets the likeliest tokens of the wanted positions, in the order of ``wanted_b_t``'s rows.
        With several chunks and ``cache`` None, a cache is made for the time being.
        """
        batch, length = ids_b_t.shape
        step = self._chunk(batch, length, token_budget)
        if step < length and cache is None:
            cache = new_cache(self._model.config)
        positions = None if mask_b_t is None else (mask_b_t.cumsum(-1) - 1).clamp(min=0)
        logprobs_b_t = torch.zeros(batch, length, dtype=torch.float32, device=ids_b_t.device)
        places_b_t = (wanted_b_t.flatten().cumsum(0) - 1).view(batch, length)
        features = torch.empty(0)
        for start in range(0, length, step):
            end = min(start + step, length)
            features = self.run(
                ids_b_t[:, start:end],
                cache,
                None if mask_b_t is None else mask_b_t[:, :end],
                None if positions is None else positions[:, start:end],
            )
            # Position t tells of the token at t + 1.
            reach = min(end + 1, length)
            wanted = wanted_b_t[:, start + 1 : reach]
            if bool(wanted.any()):
                found = self._target_logprobs(
                    features[:, : reach - start - 1][wanted],
                    ids_b_t[:, start + 1 : reach][wanted],
                    places_b_t[:, start + 1 : reach][wanted],
                    likeliest,
                )
                logprobs_b_t[:, start + 1 : reach][wanted] = found
        return logprobs_b_t, features[:, -1]

    def _target_logprobs(
        self,
        features_n_f: torch.Tensor,
        targets_n: torch.Tensor,
        places_n: torch.Tensor,
        likeliest: Likeliest | None,
    ) -> torch.Tensor:
        """Log-probability [N] of each target token, by blocks of rows."""
        rows = max(1, LOGIT_BLOCK // self.vocabulary)
        parts = []
        for start in range(0, len(targets_n), rows):
            block = slice(start, start + rows)
            logits = self.logits(features_n_f[block])
            norms = logits.logsumexp(-1)
            parts.append(logits.gather(-1, targets_n[block, None])[:, 0] - norms)
            if likeliest is not None:
                likeliest.put(places_n[block], logits, norms)
        return torch.cat(parts)

    def _chunk(self, batch: int, length: int, token_budget: int) -> int:
        """Positions in one forward pass."""
        tokens = token_budget
        if not self._split:
            tokens = min(tokens, max(1, LOGIT_BLOCK // self.vocabulary))
        step = max(1, tokens // batch)
        if step < length:
            step = min(step, max(_SMALLEST_CHUNK, _MASK_PAIRS // (batch * length)))
        return step

    @torch.inference_mode()
    def _is_split(self) -> bool:
        """Whether body, then head is all that the model does."""
        if self._head is None or self._model.base_model is self._model:
            return False
        ids = (torch.arange(8, device=self.device) % self.vocabulary)[None]
        body = self._model.base_model(input_ids=ids, use_cache=False)
        hidden = getattr(body, "last_hidden_state", None)
        if hidden is None:
            return False
        ours, theirs = self._head(hidden), self._model(input_ids=ids, use_cache=False).logits
        return ours.shape == theirs.shape and torch.allclose(ours, theirs, rtol=1e-5, atol=1e-5)
