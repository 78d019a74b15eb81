"""Which arithmetic a phase runs in."""

import json

import pytest
import torch

from mygo_edge import Learner
from mygo_edge.errors import MygoEdgeError
from mygo_edge.options import TrainOptions
from mygo_edge.run import device as place
from mygo_edge.run import folder
from mygo_edge.run.folder import RunFolder
from mygo_edge.run.saved import open_learner
from tests.run.commands import TINY, run, summary

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def test_gans_and_sleeps_are_in_bf16_and_only_where_the_processor_multiplies_it(monkeypatch):
    automatic, every = TrainOptions(), TrainOptions(precision="bf16")
    for able in (True, False):
        monkeypatch.setattr(place, "multiplies_bf16", lambda able=able: able)
        for phase in ("memory", "sleep", "forget"):
            assert place.in_bf16(automatic, CPU, "mygo", phase) is able
            assert not place.in_bf16(automatic, CUDA, "mygo", phase)
            assert not place.in_bf16(TrainOptions(precision="fp32"), CPU, "mygo", phase)
        for phase in ("head", "expert"):
            assert not place.in_bf16(automatic, CPU, "mygo", phase)
            assert place.in_bf16(every, CPU, "mygo", phase)
        for options in (automatic, every):
            assert not place.in_bf16(options, CPU, "reference", "memory")


def test_bf16_is_refused_where_the_processor_has_none(monkeypatch):
    monkeypatch.setattr(place, "multiplies_bf16", lambda: False)
    with pytest.raises(MygoEdgeError, match="no matrix instructions for it"):
        place.choose_device(TrainOptions(device="cpu", precision="bf16"))


def test_what_began_in_bf16_goes_on_where_the_processor_has_none(tmp_path, monkeypatch, capsys):
    options = TrainOptions(dataset="arrays", methods=("mygo",), device="cpu")
    RunFolder.create(tmp_path / "run", options, CPU).__exit__()
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    config["options"]["precision"] = "bf16"
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    for module in (place, folder):
        monkeypatch.setattr(module, "multiplies_bf16", lambda: False)
    with Learner.open(tmp_path / "run") as learner:
        assert learner.options.precision == "fp32"
    assert "it goes on in fp32" in capsys.readouterr().err


@pytest.mark.skipif(not place.multiplies_bf16(), reason="this processor has no AMX")
def test_all_in_bf16_learns_and_what_is_kept_is_fp32(tmp_path):
    done = run(*TINY, "--methods", "mygo", "--precision", "bf16", "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert summary(tmp_path / "run")["methods"]["mygo"]["task_known"]["average"] > 0.8
    method = open_learner(tmp_path / "run").method
    assert {weight.dtype for weight in method.net.parameters()} == {torch.float32}


def test_a_run_says_so_when_it_goes_on_with_another_arithmetic(tmp_path):
    done = run(*TINY, "--methods", "mygo", "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["device"]["bf16"] is place.multiplies_bf16()
    config["device"]["bf16"] = not config["device"]["bf16"]
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    again = run("--resume", tmp_path / "run")
    assert again.returncode == 0
    assert "AMX: GANs and sleeps are in other arithmetic on this processor" in again.stderr
