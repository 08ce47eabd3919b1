"""One process of a training: ``python -m dasd_deepspeed.worker STATE_DIRECTORY``."""

from __future__ import annotations

import json
import logging
import os
import sys
import traceback
import warnings
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from dasd.api import OwnFigures, TrainProgress
from dasd_deepspeed.job import Files, Job
from dasd_deepspeed.options import LAUNCH_ONLY, DeepSpeedOptions, options_of
from dasd_deepspeed.watch import Host


def main() -> int:
    """Run the job; 0 when it is done or was asked to stop, 1 after leaving a report of what failed."""
    files = Files(Path(sys.argv[1]))
    rank = os.environ.get("RANK", "0")
    try:
        job = Job.read(files.directory)
        _run(job, files, Host(job.watch, files))
    except Exception as error:  # noqa: BLE001 (the host raises it)
        traceback.print_exc()
        report = {"kind": type(error).__name__, "message": str(error)}
        temporary = files.error(rank).with_suffix(".tmp")
        temporary.write_text(json.dumps(report), encoding="utf-8")
        temporary.replace(files.error(rank))
        return 1
    return 0


def _run(job: Job, files: Files, host: Host) -> None:
    os.environ["DS_ACCELERATOR"] = job.device
    import deepspeed
    import torch

    logging.basicConfig(level=logging.INFO)
    # DeepSpeed 0.19 calls collectives by names that torch 2.13 warns of, thousands of times.
    warnings.filterwarnings("ignore", r"`torch\.distributed\.", FutureWarning)
    options = options_of(job.spec.settings)
    if job.device == "cpu":
        # Faster reductions between processes of one CPU, but compiled at first use, and gloo has them too.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
        device = torch.device("cpu")
    else:
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    deepspeed.init_distributed(
        "gloo" if job.device == "cpu" else "nccl", timeout=timedelta(minutes=options.timeout_minutes)
    )
    try:
        _train(job, files, host, options, device)
    finally:
        if sys.exc_info()[0] is None:
            deepspeed.comm.destroy_process_group()


def _train(job: Job, files: Files, host: Host, options: DeepSpeedOptions, device: Any) -> None:
    import torch
    from deepspeed import comm

    from dasd.api.training import (
        Curve,
        Guard,
        Position,
        attention_of,
        load_model,
        load_rows,
        plan_training,
        training_key,
        try_model,
        watch_disk,
        weights_fingerprint,
    )
    from dasd_deepspeed.engine import Engine, apply_liger
    from dasd_deepspeed.loop import Loop
    from dasd_deepspeed.muon import DividedMuon
    from dasd_deepspeed.state import find_state, load_state, save_state

    spec, settings = job.spec, job.spec.settings
    first = comm.get_rank() == 0
    with watch_disk(spec.state):
        # One process writes the tokens to the file that all of them map.
        rows = load_rows(job.shards, spec.state) if first else None
        comm.barrier()
        rows = rows or load_rows(job.shards, spec.state, written=True)
    agreed: list[Any] = [None, None]
    if first:
        key = training_key(_numbers_only(spec), rows.fingerprint, weights_fingerprint(spec.model))
        agreed = [key, find_state(spec.state, key) if job.resume else None]
    torch.distributed.broadcast_object_list(agreed, device=device)
    key, found = agreed

    attention = attention_of(options.attention, settings.precision, device)
    model, dtype = load_model(spec, attention, device)
    apply_liger(model, options.liger, device)
    plain_head = try_model(model, rows, attention, settings.precision)
    engine = Engine(model, options, settings, device)
    loop = Loop(
        engine=engine,
        muon=DividedMuon(engine, settings),
        rows=rows,
        plan=plan_training(rows.lengths, settings, spec.seed),
        settings=settings,
        seed=spec.seed,
        attention=attention,
        plain_head=plain_head,
        loss_logits=options.loss_logits,
        device=device,
        position=Position(step=0, tokens=0, seconds=0.0),
        on_policy=spec.on_policy,
        part=spec.part,
        parts=spec.parts,
    )
    if found is not None:
        loop.warm_up()
        load_state(found[0], found[1], engine, loop.muon)
        loop.position = found[1]
    on_policy = spec.on_policy is not None
    curve = Curve(spec.state, spec.stage, loop.position.step, on_policy=on_policy) if first else None
    if spec.on_policy is not None:
        told = [None if curve is None else curve.first_own]
        torch.distributed.broadcast_object_list(told, device=device)
        loop.guard = Guard(spec.on_policy, spec.stage, told[0])
    for progress in loop.steps():
        due = progress.step % settings.save_every == 0 or progress.step == progress.steps
        if curve is not None:
            curve.append(progress, durable=due)
        if due:
            save_state(spec.state, key, loop.position, engine, loop.muon)
        if first:
            _tell(files, {"step": asdict(progress)})
        if _all_agree(first and host.wants_stop(), device):
            if not due:
                save_state(spec.state, key, loop.position, engine, loop.muon)
            return
    _finish(job, files, engine, dtype, curve, loop.position)


def _finish(job: Job, files: Files, engine: Any, dtype: Any, curve: Any, position: Any) -> None:
    """Gather the weights for rank 0, which writes them and says that it is done. Collective."""
    from dasd.api.training import export_adapted, export_model

    spec = job.spec
    adapted = spec.settings.adapter is not None
    weights: dict[str, Any] = {}
    for name, parameter in engine.parameters.items():
        whole = engine.weight(parameter)
        if curve is not None:
            # An adapter's matrices are merged in float32.
            weights[name] = whole.to(whole.dtype if adapted else dtype).cpu().clone()
    if curve is None:
        return
    losses = curve.frame()
    if adapted:
        export_adapted(spec, weights, dtype, losses)
    else:
        export_model(
            engine.model, dtype, spec.model, spec.output, losses, _all_weights(engine, weights, dtype)
        )
    done = {
        "steps": position.step,
        "tokens": position.tokens,
        "first_loss": losses.get_column("loss")[0],
        "last_loss": losses.get_column("loss")[-1],
        "seconds": position.seconds,
    }
    _tell(files, {"done": done})


def _all_weights(engine: Any, weights: dict[str, Any], dtype: Any) -> dict[str, Any]:
    """The whole ``state_dict``, from the trained ``weights``."""
    for name, parameter in engine.model.named_parameters(remove_duplicate=False):
        if name not in weights:  # one tensor under two names, or not trained
            twin = next((n for n, p in engine.parameters.items() if p is parameter), None)
            weights[name] = weights[twin] if twin else parameter.detach().to(dtype).cpu()
    trained = {name for name, _ in engine.model.named_parameters(remove_duplicate=False)}
    return weights | {name: b for name, b in engine.model.state_dict().items() if name not in trained}


def _numbers_only(spec: Any) -> Any:
    """``spec`` with only those of the options that change the result."""
    kept = {k: v for k, v in spec.settings.options.items() if k not in LAUNCH_ONLY}
    return replace(spec, settings=spec.settings.model_copy(update={"options": kept}))


def _all_agree(wanted: bool, device: Any) -> bool:
    import torch
    from deepspeed import comm

    flag = torch.tensor(float(wanted), device=device)
    comm.all_reduce(flag)
    return bool(flag)


def _tell(files: Files, message: dict[str, Any]) -> None:
    with files.progress.open("a", encoding="utf-8") as file:
        file.write(json.dumps(message) + "\n")


def parse(line: str) -> tuple[TrainProgress | None, dict[str, Any] | None]:
    """What a line of the progress file says: a step, or that the training is done."""
    message = json.loads(line)
    step = message.get("step")
    if step and step["own"] is not None:
        step["own"] = OwnFigures(**step["own"])
    return (TrainProgress(**step) if step else None), message.get("done")


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # All is written. An ordinary exit may meet a thread of gloo's that is still ending, and aborts.
    os._exit(code)
