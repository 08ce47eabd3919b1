"""Who writes the opening think tag: the chat template, in the prompt, or the model, in its response.

Templates of some reasoning models end the prompt with ``<think>``, so their responses begin behind it; others
leave the tag to the model. Where teacher and student differ, a response needs the tag added or taken off.
"""

from __future__ import annotations

from dasd.chat import ChatTokenizer
from dasd.errors import InputError
from dasd.records import Message
from dasd.settings import ModelSettings

__all__ = ["adapt", "opens_thinking", "teacher_opens_thinking"]

OPEN = "<think>"


def opens_thinking(chat: ChatTokenizer) -> bool:
    """Whether the model's prompt ends with an opened think tag."""
    return chat.decode(chat.prompt_ids((Message("user", "?"),))).rstrip().endswith(OPEN)


def teacher_opens_thinking(settings: ModelSettings) -> bool:
    """The same of a teacher; False where its tokenizer isn't here (a teacher behind a server)."""
    try:
        return opens_thinking(ChatTokenizer.load(settings))
    except InputError:
        return False


def adapt(text: str, opened_for_author: bool, opened_for_reader: bool) -> str:
    """``text`` of a model with one kind of template as a response of a model with the other kind."""
    if opened_for_author and not opened_for_reader:
        return f"{OPEN}\n{text}"
    if opened_for_reader and not opened_for_author:
        return text.removeprefix(OPEN).removeprefix("\n")
    return text
