"""Options that cannot act, and devices that are not there: one sentence, by name, before anything is read."""

from argparse import Namespace
from pathlib import Path

import pytest
import torch

from refvid import cli
from refvid.cli import ablate, edit
from refvid.cli.guidance import read_guidance
from refvid.cli.model import require_device, runs_on
from refvid.cli.refusals import is_given, spelled
from refvid.hosts.plain.pipeline import Settings

GENERATE = ("generate", "--prompt", "a toy", "--out", "no.mp4")
LONG = ("long", "--prompt", "a toy", "--out", "no.mp4")
EDIT = ("edit", "--video", "gone.mp4", "--instruction", "make it red", "--out", "no.mp4")
MAKE = ("identity", "make", "--video", "gone.mp4", "--out", "no.safetensors")
FILES = ("--dit", "gone", "--vae", "gone", "--text-encoder", "gone")


@pytest.fixture
def nothing_is_read(monkeypatch, tmp_path):
    """Runs in an empty folder, where a model that is read at all fails in another way."""
    from refvid.demo import models
    from refvid.hosts.plain import pipeline

    def read(*_, **__):
        raise AssertionError("a model was read")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(models, "load_demo", read)
    monkeypatch.setattr(pipeline, "load_pipeline", read)


def refused(capsys, *said: object) -> str:
    with pytest.raises(SystemExit, match="2"):
        cli.main([str(one) for one in said])
    told = capsys.readouterr().err.strip()
    assert told.startswith("refvid: ") and "\n" not in told
    return told


NEEDY = {
    "--soft-mask": ((GENERATE, LONG, EDIT), (), "--reference"),
    "--cutout": ((GENERATE, LONG, EDIT, ("inspect",)), ("gone.safetensors",), "--reference"),
    "--attention": ((GENERATE, LONG), ("eager",), "--reference"),
    "--identity-strength": ((GENERATE, LONG), ("0.5",), "--identity"),
    "--identity-parts": ((GENERATE, LONG), ("slots",), "--identity"),
    "--adapter": ((GENERATE, LONG), ("gone.safetensors",), "--identity"),
    "--adapter ": ((("score",),), ("gone.safetensors",), "--identity or --edits"),
    "--reference-adapter": ((GENERATE, LONG), ("gone.safetensors",), "--reference"),
    "--clock": ((GENERATE,), ("shared",), "--given"),
    "--image-scale": ((GENERATE,), ("2",), "--reference or --identity or --given"),
    "--image-scale ": ((EDIT,), ("2",), "--reference"),
    "--adapter-strength": (((*EDIT, *FILES),), ("0.5",), "--adapter"),
    "--width": ((EDIT,), ("64",), "--height"),
    "--height": ((EDIT,), ("64",), "--width"),
}


@pytest.mark.usefixtures("nothing_is_read")
@pytest.mark.parametrize("option", NEEDY)
def test_an_option_without_what_it_acts_on_is_refused(option, capsys):
    commands, value, needs = NEEDY[option]
    for command in commands:
        told = refused(capsys, *command, option.strip(), *value)
        assert told == f"refvid: {option.strip()}: needs {needs} beside it; give that, or leave it out"


OF_A_MODEL = {
    **{
        "toys": ("3",),
        "seeds": ("0",),
        "frames": (),
        "controls": (),
        "views": (),
        "words": (),
        "identity": (),
        "edits": (),
        "level": ("still",),
        "dtype": ("bf16",),
        "device": ("cpu",),
    },
    **dict.fromkeys(("lora", "dit", "vae", "text-encoder", "adapter"), ("gone",)),
}
UNUSED = {
    "saber": ("noises",),
    **dict.fromkeys(("slot_id", "videomaker", "sama"), ("pretraining",)),
    "films_gain": ("pretraining", "toys", "noises"),
    "world_gain": ("toys", "noises"),
    "focus": ("seeds", "pretraining", "steps"),
}
IDLE = {
    "fps of an edit": ((*EDIT, "--fps", 8), "--fps: an edit keeps the film's own rate; leave it out"),
    "a LoRA where no DiT is used": ((*MAKE, "--lora", "gone"), "--lora: an identity is read with the VAE"),
    "a prompt between keys of a clip": (
        (*LONG, "--from", "gone.mp4", "--between-prompt", "b"),
        "--between-prompt: with --from no key picture is asked for",
    ),
    "controls and frames": (("score", "--controls", "--frames"), "--frames: --controls is another trial"),
    "seeds of controls": (
        ("score", "--controls", "--seeds", 2),
        "--seeds: --controls is measured at one noise per toy",
    ),
    "words and views": (("score", "--views", "--words"), "--words: --views is another trial"),
    "adapter of words": (
        ("score", "--words", "--adapter", "gone"),
        "--adapter: needs --identity or --edits beside it",
    ),
    "level of views": (("score", "--views", "--level", "still"), "--level: --views has toys of its own"),
    "seeds of words": (
        ("score", "--words", "--seeds", 2),
        "--seeds: --words is measured at one noise per toy",
    ),
    **{
        f"{option} of a folder": (
            ("score", "clips", f"--{option}", *value),
            f"--{option}: makes clips in the",
        )
        for option, value in OF_A_MODEL.items()
    },
    **{
        f"{option} of {system}": (
            ("ablate", system, f"--{option}", 1),
            f"--{option}: the ablation of {system} ",
        )
        for system, options in UNUSED.items()
        for option in options
    },
}


@pytest.mark.usefixtures("nothing_is_read")
@pytest.mark.parametrize("case", IDLE)
def test_an_option_that_has_no_use_in_a_command_is_refused(case, capsys):
    said, says = IDLE[case]
    assert refused(capsys, *said).startswith(f"refvid: {says}")


@pytest.mark.usefixtures("nothing_is_read")
@pytest.mark.parametrize("system", ablate.SYSTEMS)
def test_no_ablation_is_started_by_torchrun(system, capsys, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert refused(capsys, "ablate", system).startswith("refvid: refvid ablate was started by torchrun")


def test_what_an_option_says_by_default_is_not_given():
    said = Namespace(none=None, off=False, empty=[], word="", auto="auto", zero=0.0, path=Path("a"), on=True)
    assert [name for name in vars(said) if is_given(said, name)] == ["zero", "path", "on"]
    assert not is_given(said, "unheard of")


def test_an_ablation_is_given_the_options_it_has_and_their_defaults(monkeypatch, capsys):
    asked = {}
    for name, system in ablate.SYSTEMS.items():
        run = lambda options, name=name: asked.setdefault(name, options) and [name]  # noqa: E731
        monkeypatch.setitem(ablate.SYSTEMS, name, ablate.System(run, system.unused))
        cli.main(["ablate", name])
    cli.main(["ablate", "sama", "--seeds", "5"])
    said = {(one.toys, one.seeds, one.noises, one.pretraining, one.steps) for one in asked.values()}
    assert said == {(64, 2, 3, 1500, 600)}
    assert set(asked) == set(ablate.SYSTEMS)
    assert capsys.readouterr().out.split() == [*asked, "sama"]


# ---- devices

UNKNOWN = ("gpu", "CPU", "cpu:1", "cuda:x", "cuda:-1", "cuda:", "mps", "")


def with_gpus(monkeypatch, count: int) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)


@pytest.mark.parametrize(
    ("gpus", "name"), [(0, "cpu"), (1, "cpu"), (1, "cuda"), (1, "cuda:0"), (4, "cuda:3")]
)
def test_a_device_that_is_there_keeps_its_name(monkeypatch, gpus, name):
    with_gpus(monkeypatch, gpus)
    assert require_device(name) == name


@pytest.mark.parametrize(
    ("gpus", "name", "says"),
    [
        (0, "cuda", "there is no CUDA device here; give cpu$"),
        (0, "cuda:0", "there is no CUDA device here; give cpu$"),
        (1, "cuda:1", "there is 1 here, counted from 0; give cpu, or cuda:0 to 0"),
        (2, "cuda:3", "there is 2 here, counted from 0; give cpu, or cuda:0 to 1"),
        *((2, name, "is no device known here; needed cpu, cuda, or cuda:N") for name in UNKNOWN),
    ],
)
def test_a_device_that_is_not_there_is_refused(monkeypatch, gpus, name, says):
    with_gpus(monkeypatch, gpus)
    with pytest.raises(ValueError, match=f"--device {name}: {says}"):
        require_device(name)


@pytest.mark.usefixtures("nothing_is_read")
@pytest.mark.parametrize("command", [GENERATE, LONG, EDIT, MAKE, ("score",), ("ablate", "saber")])
def test_every_command_refuses_a_device_that_is_not_there_before_it_reads(command, capsys, monkeypatch):
    with_gpus(monkeypatch, 0)
    assert "--device cuda: there is no CUDA device" in refused(capsys, *command, "--device", "cuda")


@pytest.mark.usefixtures("nothing_is_read")
@pytest.mark.parametrize(
    "command", [(*GENERATE, "--reference", "gone.png"), (*LONG, "--reference", "gone.png"), EDIT]
)
def test_an_attention_that_cannot_run_on_the_device_is_refused_with_the_reason(command, capsys):
    told = refused(capsys, *command, "--device", "cpu", "--attention", "triton")
    assert told.startswith("refvid: --attention triton: not triton: ")


def test_what_can_run_is_not_refused(monkeypatch):
    with_gpus(monkeypatch, 0)
    for attention in ("auto", "eager"):
        said = Namespace(device=None, dtype=None, attention=attention)
        assert runs_on(said) == ("cpu", torch.float32)
    assert runs_on(Namespace(device="cpu", dtype="fp16")) == ("cpu", torch.float16)


# ---- what only a model's settings or a film can tell


@pytest.mark.parametrize(
    ("name", "value"), [("negative", "blurry"), ("guidance_window", "0:0.5"), ("renorm", "clip")]
)
def test_options_of_guidance_are_refused_where_nothing_is_guided(name, value):
    nothing = {"image_scale": None, "guidance_window": None, "renorm": None, "negative": ""}
    said = Namespace(**nothing | {name: value})
    with pytest.raises(ValueError, match=f"^{spelled(name)}: a scale of 1 is no guidance, no pass reads it"):
        read_guidance(said, Settings(scale=1.0))
    assert read_guidance(said, Settings(scale=4.0)).text.value == 4
    said.image_scale = 2.0  # three passes, one of which reads the negative prompt
    assert read_guidance(said, Settings(scale=1.0)).image.value == 2
    assert read_guidance(Namespace(**nothing), Settings(scale=1.0)).renorm == "off"


def test_windows_that_a_film_does_not_need_are_said(capsys):
    edit._tell_one_window(Namespace(window=13, overlap=None), 13, 13)
    assert capsys.readouterr().err == "refvid: --window: the film's 13 frames lie in one window of 13\n"
    edit._tell_one_window(Namespace(window=9, overlap=4), 7, 9)
    assert "--window, --overlap: the film's 7 frames" in capsys.readouterr().err
    edit._tell_one_window(Namespace(window=None, overlap=None), 7, 81)
    edit._tell_one_window(Namespace(window=13, overlap=8), 14, 13)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("system", ablate.SYSTEMS)
def test_an_ablation_of_nothing_is_refused_before_any_work(system, capsys, monkeypatch):
    def work(_):
        raise AssertionError("it began")

    used = {name: least for name, least in ablate.LEAST.items() if name not in ablate.SYSTEMS[system].unused}
    monkeypatch.setitem(ablate.SYSTEMS, system, ablate.System(work, ablate.SYSTEMS[system].unused))
    for name, least in used.items():
        told = refused(capsys, "ablate", system, f"--{name}", least - 1)
        assert told == f"refvid: --{name} is {least - 1}; give {least} or more"


@pytest.mark.parametrize(
    ("system", "work"),
    [
        ("saber", "saber.ablate_saber"),
        ("frames", "frames.ablate_frames"),
        ("world_gain", "reference_gain.ablate_world"),
    ],
)
def test_what_begins_with_a_text_to_video_model_is_told_its_steps(system, work, monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(f"refvid.evidence.ablations.{work}", lambda *given: asked.append(given) or ["done"])
    cli.main(["ablate", system, "--steps", "7", "--pretraining", "5", "--seeds", "3", "--out", str(tmp_path)])
    ((ablation, *steps),) = asked
    assert steps == [7, 5] and (ablation.seeds, ablation.folder) == (3, tmp_path)


def test_ablations_but_those_of_gain_take_toys_and_two_at_least():
    assert [name for name, one in ablate.SYSTEMS.items() if "toys" in one.unused] == [
        "films_gain",
        "world_gain",
    ]
    assert [name for name, one in ablate.SYSTEMS.items() if "films" not in one.unused] == ["films_gain"]
    assert ablate.LEAST == {"toys": 2, "seeds": 1, "noises": 1, "pretraining": 1, "steps": 1}
