"""Built-in exporters, registered through the same hook as any plugin's."""

from __future__ import annotations

from dasd.plugins.components import Options
from dasd.plugins.registry import Registry
from dasd.plugins.roles import hookimpl
from dasd.results.export.formats.llamafactory import LlamaFactoryExporter, LlamaFactoryOptions
from dasd.results.export.formats.release import LogprobsExporter, TextExporter
from dasd.results.export.formats.sharegpt import ShareGptExporter
from dasd.results.export.formats.trl import TrlExporter, TrlOptions

__all__ = ["dasd_register"]


@hookimpl
def dasd_register(registry: Registry) -> None:
    """Register the built-in exporters."""
    registry.exporter(
        "trl",
        lambda options: TrlExporter(TrlOptions.model_validate(options)),
        options=TrlOptions,
        doc="TRL's SFTTrainer: prompt and completion, loss on the completion; a config for `trl sft` a training.",
    )
    registry.exporter(
        "llamafactory",
        lambda options: LlamaFactoryExporter(LlamaFactoryOptions.model_validate(options)),
        options=LlamaFactoryOptions,
        doc="LLaMA-Factory: messages, dataset_info.json, a config for `llamafactory-cli train` a training.",
    )
    registry.exporter(
        "sharegpt",
        lambda _: ShareGptExporter(),
        options=Options,
        doc="Plain conversations of from and value, which many tools read.",
    )
    registry.exporter(
        "text",
        lambda _: TextExporter(),
        options=Options,
        doc="The report's text set: uuid, input, output, domain, meta; `dasd import` reads it.",
    )
    registry.exporter(
        "logprobs",
        lambda _: LogprobsExporter(),
        options=Options,
        doc="The report's log-probability set: sample_uuid, token_ids, logprobs; `dasd import` reads it.",
    )
