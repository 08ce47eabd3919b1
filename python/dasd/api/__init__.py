"""All that a plugin may import. Stable: names here are only ever added.

A plugin is a module or object behind an entry point of the group ``dasd.plugins`` that implements hooks of
``dasd.plugins.hooks`` with the ``hookimpl`` marker from here and registers components (name, factory) in
``dasd_register(registry)``. Heavy imports belong inside the factories.
"""

from __future__ import annotations

from dasd.base.records import (
    BadRow,
    ContinueRequest,
    EngineSizes,
    EvalSpec,
    Grade,
    LoadedFile,
    LoadedQuestions,
    Message,
    ModelInfo,
    OnPolicyLoss,
    OnRefused,
    QuestionRows,
    RowsSetAside,
    SampledTokens,
    SampleRequest,
    SamplingSpec,
    ScoreRequest,
    ScoringSpec,
    SetAside,
)
from dasd.base.rows_file import RowsFile
from dasd.base.schemas import (
    CANDIDATES,
    EVAL,
    ON_POLICY_TRAIN,
    QUESTIONS,
    SAMPLES,
    SCORES,
    TOP_SCORES,
    TRAIN,
    VERDICTS,
    Schema,
)
from dasd.base.small_files import read_json, read_small
from dasd.errors import (
    BackendError,
    DasdError,
    InputError,
    NotHereError,
    PluginError,
    RecipeError,
    SchemaError,
    TrainingError,
)
from dasd.models.files import context_length, load_config, model_fingerprint, resolve_model
from dasd.models.tokens.chat import ChatTokenizer
from dasd.models.tokens.sample_rows import EngineRows, Generated, Prompted, Text, TopTokens
from dasd.models.tokens.think_opening import behind_tag, prompt_opening
from dasd.plugins.exports import EXPORT, Exported, ExportedFile, ExportRun, ExportStage
from dasd.plugins.hosts import Hosts, HostsWanted, Launched
from dasd.plugins.registering import Registry
from dasd.plugins.roles import (
    Checkpoint,
    Evaluator,
    Executor,
    Exporter,
    Filter,
    LaunchingExecutor,
    OpenedTeacher,
    OwnFigures,
    Questions,
    Selector,
    Teacher,
    Trainer,
    TrainProgress,
    TrainSpec,
    Verifier,
    hookimpl,
)
from dasd.recipe.curation_settings import FilterSettings, SelectSettings
from dasd.recipe.model_settings import CPU_BATCH_SIZE, CPU_TOKEN_BUDGET, ModelSettings
from dasd.recipe.question_settings import QuestionSource
from dasd.recipe.training_settings import TrainerSettings
from dasd.recipe.verifier_settings import VerifierSettings

__all__ = [
    "CANDIDATES",
    "CPU_BATCH_SIZE",
    "CPU_TOKEN_BUDGET",
    "EVAL",
    "EXPORT",
    "ON_POLICY_TRAIN",
    "QUESTIONS",
    "SAMPLES",
    "SCORES",
    "TOP_SCORES",
    "TRAIN",
    "VERDICTS",
    "BackendError",
    "BadRow",
    "ChatTokenizer",
    "Checkpoint",
    "ContinueRequest",
    "DasdError",
    "EngineRows",
    "EngineSizes",
    "EvalSpec",
    "Evaluator",
    "Executor",
    "ExportRun",
    "ExportStage",
    "Exported",
    "ExportedFile",
    "Exporter",
    "Filter",
    "FilterSettings",
    "Generated",
    "Grade",
    "Hosts",
    "HostsWanted",
    "InputError",
    "Launched",
    "LaunchingExecutor",
    "LoadedFile",
    "LoadedQuestions",
    "Message",
    "ModelInfo",
    "ModelSettings",
    "NotHereError",
    "OnPolicyLoss",
    "OnRefused",
    "OpenedTeacher",
    "OwnFigures",
    "PluginError",
    "Prompted",
    "QuestionRows",
    "QuestionSource",
    "Questions",
    "RecipeError",
    "Registry",
    "RowsFile",
    "RowsSetAside",
    "SampleRequest",
    "SampledTokens",
    "SamplingSpec",
    "Schema",
    "SchemaError",
    "ScoreRequest",
    "ScoringSpec",
    "SelectSettings",
    "Selector",
    "SetAside",
    "Teacher",
    "Text",
    "TopTokens",
    "TrainProgress",
    "TrainSpec",
    "Trainer",
    "TrainerSettings",
    "TrainingError",
    "Verifier",
    "VerifierSettings",
    "behind_tag",
    "context_length",
    "hookimpl",
    "load_config",
    "model_fingerprint",
    "prompt_opening",
    "read_json",
    "read_small",
    "resolve_model",
]
