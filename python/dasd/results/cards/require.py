"""huggingface_hub, or how to get it."""

from __future__ import annotations

from importlib.util import find_spec

from dasd.errors import PluginError

__all__ = ["require_hub"]


def require_hub() -> None:
    """Raises PluginError where huggingface_hub is missing or too old to know the hub's evaluation results."""
    if find_spec("huggingface_hub") is None:
        raise PluginError("cards and pushing need huggingface_hub: pip install 'dasd[torch]'")
    import huggingface_hub

    if not hasattr(huggingface_hub, "EvalResultEntry"):
        raise PluginError(
            f"huggingface_hub {huggingface_hub.__version__} is too old: wanted one that has EvalResultEntry; "
            "pip install -U huggingface_hub"
        )
