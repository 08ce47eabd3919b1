"""Models as tokens: prompts, responses with byte offsets, and chat formats that are no template."""

from dasd.models.tokens import harmony as _harmony  # noqa: F401 (it makes itself known to ChatTokenizer.load)
