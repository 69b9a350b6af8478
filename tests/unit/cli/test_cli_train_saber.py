"""`refvid train saber` on real clips: what the plan says, what is refused, and a LoRA out of a folder."""

import json
import shutil

import pytest
import torch
from refvid_footage import bikes, carphone

from refvid import cli
from refvid.core.checkpoint import read_metadata, read_safetensors
from refvid.core.lora import changes
from refvid.demo import models
from refvid.demo.runs import run_path

RUN = """
out = "run"
[models]
dit = "{dit}"
vae = "{vae}"
text_encoder = "{text}"
base_dtype = "fp32"
[data]
path = ["clips"]
frames = [5, 9]
pixels = 2304
held_out = 1
[train]
rank = 2
steps = 4
batch = 1
accumulate = 2
[report]
every = 2
validate_every = 0
sample_every = 0
tensorboard = false
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Clips of people, among them what no run can use, and a run file beside them."""
    folder = tmp_path_factory.mktemp("user")
    clips = folder / "clips"
    clips.mkdir()
    for path, name in ((bikes(), "bikes"), (carphone(), "phone")):
        shutil.copy(path, clips / f"{name}.mp4")
        (clips / f"{name}.txt").write_text(f"a clip of {name}")
    (clips / "cut.mp4").write_bytes(bikes().read_bytes()[:20000])
    (clips / "text.mp4").write_text("this is no film")
    shutil.copy(carphone(), clips / "wordless.mp4")
    said = RUN.format(dit=models.DIT, vae=models.VAE, text=models.TEXT_ENCODER)
    (folder / "run.toml").write_text(said)
    return folder


def saber(folder, *options: str) -> None:
    cli.main(["train", "saber", "--config", str(folder / "run.toml"), *map(str, options)])


def refused(capsys, folder, *options) -> str:
    with pytest.raises(SystemExit) as stopped:
        saber(folder, *options)
    assert stopped.value.code == 2
    return capsys.readouterr().err


def test_a_folder_of_clips_becomes_a_lora_with_workflows_and_a_run_goes_on(folder, capsys):
    saber(folder, "--plan")
    told = capsys.readouterr().out
    assert (
        "10 clips; 5 a time through, 1 held out, 4 not used: 1 shorter than 1.2 s · 1 cut short or damaged · "
        "1 not a video or picture · 1 same picture as another\n        6 clips of another rate are shown at 16 fps"
    ) in told
    assert not (folder / "run/run.safetensors").exists()
    saber(folder)
    run = folder / "run"
    lora, _ = read_safetensors(run / "run.safetensors", "lora")
    weights, _ = read_safetensors(models.DIT, "dit")
    assert changes(lora, weights, "lora").keys() == {
        key
        for key in weights
        if "_attn." in key and key.endswith((".q.weight", ".k.weight", ".v.weight", ".o.weight"))
    }
    assert any(value.abs().max() > 0 for key, value in lora.items() if "lora_B" in key)
    said = json.loads(read_metadata(run / "run.safetensors", "lora")["refvid.training"])
    assert (said["method"], said["recipe"], said["rank"], said["fps"], said["steps"]) == (
        "saber",
        "saber",
        2,
        16.0,
        4,
    )
    assert json.loads((run / "run.api.json").read_text())["lora"]["inputs"]["lora_name"] == "run.safetensors"
    steps = [json.loads(line)["step"] for line in (run / "log.jsonl").read_text().splitlines()]
    assert steps == [2, 4]
    assert "state of a run; --resume goes on from it" in refused(capsys, folder)
    card = ("--plan", "--data", run / "data", "--out", folder / "other", "--set", "memory.card=0.001")
    assert "the run does not fit, as the plan says" in refused(capsys, folder, *card)
    saber(folder, "--resume", "--set", "train.steps=6")
    assert json.loads((run / "log.jsonl").read_text().splitlines()[-1])["step"] == 6
    after, _ = read_safetensors(run / "run.safetensors", "lora")
    assert any(not torch.equal(after[key], lora[key]) for key in lora)


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("train.rnk=3", "train: rnk is not known; did you mean rank?"),
        ("train.targets=self_atn", "targets: 'self_atn' matches no linear layer; the nearest is self_attn"),
        ("references.masks=circle", "references: masks is 'circle'; needed one of mixed, subject, random"),
        ("train.noise.low=1.5", "noise"),
        ("data.path=nowhere", "nowhere"),
        ("models.dit=nowhere.safetensors", "models.dit: there is no file nowhere.safetensors"),
    ],
)
def test_what_cannot_train_is_refused_by_name(folder, capsys, option, says, tmp_path):
    assert says in refused(capsys, folder, "--plan", "--out", tmp_path / "other", "--set", option)


def test_a_run_file_of_another_method_is_refused(folder, capsys):
    with pytest.raises(SystemExit):
        cli.main(["train", "saber", "--config", str(run_path("dit"))])
    assert "is not known" in capsys.readouterr().err
