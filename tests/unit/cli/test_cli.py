"""The command line on tiny random files: what it writes, and what it refuses in one line."""

import json
import subprocess
import sys
from pathlib import Path

import av
import pytest
import refvid_tiny as tiny
import torch
from refvid_patience import PROCESS

from refvid import cli, media

ROOT = Path(__file__).parents[3]
# Every command's --help in a process of its own: what it prints and how it ends; and, of each, what Python
# did not bring.
HELP = """
import argparse, contextlib, io, json, sys
from pathlib import Path

python = set(sys.modules) | sys.stdlib_module_names | {"refvid", "refvid_folder"}
root = Path(sys.argv[1])
sys.path.append(str(root / "tests" / "support"))
from refvid_folder import import_folder

import_folder("refvid", root)
from refvid import cli

def strangers():
    return sorted({name.partition(".")[0] for name in sys.modules} - python)

def commands(parser, path=()):
    yield path
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, command in action.choices.items():
                yield from commands(command, (*path, name))

found = {"import": [0, "usage: refvid", strangers()]}
for path in commands(cli._parser()):
    said, code = io.StringIO(), None
    with contextlib.redirect_stdout(said):
        try:
            cli.main([*path, "--help"])
        except SystemExit as stopped:
            code = stopped.code
    found[" ".join(path)] = [code, said.getvalue(), strangers()]
print(json.dumps(found))
"""
OTHERS = {"ti2v": tiny.config(48, 48), "plain": tiny.config(), "control": tiny.config(48)}
BACKBONES = {"t2v": tiny.config(), "fun-inp": tiny.config(36), "i2v": tiny.config(36, image_width=1280)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    for name, sizes in BACKBONES.items():
        tiny.save_dit(folder, f"{name}.safetensors", sizes, tiny.dit_state(sizes), recipe="saber")
    for name, sizes in OTHERS.items():
        tiny.save_dit(folder, f"{name}.safetensors", sizes, tiny.dit_state(sizes))
    tiny.save_vae(folder, width=4)
    tiny.save_vae22(folder, "vae22.safetensors", 2)
    tiny.save_text_encoder(folder)
    picture = torch.rand(40, 48, 4, generator=torch.Generator().manual_seed(0))
    picture[..., 3] = (torch.arange(48) < 20).float()
    media.write_picture(folder / "toy.png", picture)
    media.write_picture(
        folder / "mask.png", (torch.arange(48) < 20).float().expand(40, -1)[..., None].expand(-1, -1, 3)
    )
    return folder


def generate(folder, *more: str, dit: str = "t2v") -> None:
    files = ["--dit", folder / f"{dit}.safetensors", "--vae", folder / "vae.safetensors"]
    files += ["--text-encoder", folder / "text.safetensors", "--out", folder / "x.mp4"]
    size = ["--width", "48", "--height", "32", "--frames", "5", "--steps", "2", "--fps", "6"]
    given = ["--prompt", "a toy moving right on dark background", "--device", "cpu"]
    cli.main(["generate", *map(str, files), *size, *given, *map(str, more)])


def frames(folder):
    with av.open(str(folder / "x.mp4")) as clip:
        assert clip.streams.video[0].average_rate == 6
        return [torch.from_numpy(frame.to_ndarray(format="rgb24")) for frame in clip.decode(video=0)]


@pytest.mark.parametrize("dit", list(BACKBONES))
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_a_clip_of_the_size_asked_for_is_written(folder, dit, dtype):
    generate(folder, "--reference", folder / "toy.png", "--dtype", dtype, dit=dit)
    clip = frames(folder)
    assert len(clip) == 5 and clip[0].shape == (32, 48, 3)
    assert torch.stack(clip).float().std() > 1  # not one flat colour


def test_an_alpha_channel_and_the_same_mask_in_a_file_give_the_same_clip(folder):
    generate(folder, "--reference", folder / "toy.png")
    by_alpha = frames(folder)
    generate(folder, "--reference", folder / "toy.png", "--mask", folder / "mask.png")
    assert all(torch.equal(a, b) for a, b in zip(by_alpha, frames(folder), strict=True))
    generate(folder)
    assert not all(torch.equal(a, b) for a, b in zip(by_alpha, frames(folder), strict=True))


def test_strength_zero_equals_no_reference(folder):
    generate(folder)
    without = frames(folder)
    generate(folder, "--reference", folder / "toy.png", "--strength", "0")
    assert all(torch.equal(a, b) for a, b in zip(without, frames(folder), strict=True))


@pytest.mark.parametrize(
    ("more", "dit", "message"),
    [
        (["--frames", "6"], "t2v", "frames is 6; the model makes 4k"),
        (["--width", "50"], "t2v", "width is 50; needed a multiple of 16"),
        (["--steps", "0"], "t2v", "steps is 0"),
        (["--recipe", "auto"], "plain", "choose one of saber, phantom, bernini"),
        (
            [],
            "ti2v",
            "is the Wan 2.1 VAE (16 channels); --dit: ti2v.safetensors needs the Wan 2.2 VAE (48 channels)",
        ),
        (
            ["--vae", "vae22.safetensors"],
            "t2v",
            "is the Wan 2.2 VAE (48 channels); --dit: t2v.safetensors needs the Wan 2.1",
        ),
        ([], "control", "takes 48 input channels to make 16; needed 16 (T2V, TI2V) or 36 (I2V, Fun-InP)"),
        (["--recipe", "magic"], "t2v", "recipe is 'magic'; choose one of"),
        (["--reference", "nowhere.png"], "t2v", "--reference: there is no file nowhere.png"),
        (["--mask", "mask.png"], "t2v", "--mask: 1 given for 0 references"),
        (["--dit", "toy.ckpt"], "t2v", "--dit: there is no file toy.ckpt"),
    ],
)
def test_bad_input_ends_in_one_line_and_code_two(folder, capsys, more, dit, message):
    more = [folder / one if one == "vae22.safetensors" else one for one in more]
    with pytest.raises(SystemExit) as stopped:
        generate(folder, *more, dit=dit)
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert stopped.value.code == 2
    assert told.startswith("refvid: ") and message in told


def test_a_file_that_is_no_picture_is_refused_by_name(folder, capsys):
    with pytest.raises(SystemExit):
        generate(folder, "--reference", folder / "vae.safetensors")
    assert "is not a picture that can be read" in capsys.readouterr().err


def test_words_the_model_never_saw_are_named(folder, capsys):
    generate(folder, "--prompt", "a dragon moving right on dark background")
    assert "no word for dragon" in capsys.readouterr().err


def test_two_of_three_model_files_are_refused(folder, capsys):
    with pytest.raises(SystemExit):
        cli.main(["generate", "--prompt", "a", "--out", "x.mp4", "--dit", str(folder / "t2v.safetensors")])
    assert "belong together" in capsys.readouterr().err


def test_scores_need_a_recipe_too(folder, tmp_path, capsys):
    sizes = OTHERS["plain"]
    square = tiny.save_dit(
        tmp_path, "square.safetensors", sizes, tiny.dit_state(sizes), settings={"width": 64, "height": 64}
    )
    files = [f"--vae={folder / 'vae.safetensors'}", f"--text-encoder={folder / 'text.safetensors'}"]
    with pytest.raises(SystemExit):
        cli.main(["score", "--toys", "2", "--device", "cpu", "--out", str(folder), f"--dit={square}", *files])
    assert "choose one of saber, phantom, bernini" in capsys.readouterr().err


@pytest.mark.parametrize(("option", "given", "least"), [("toys", 1, 2), ("toys", 0, 2), ("seeds", 0, 1)])
def test_a_score_of_too_few_is_refused_and_not_taken_as_the_default(option, given, least, capsys):
    with pytest.raises(SystemExit):
        cli.main(["score", f"--{option}", str(given)])
    assert f"--{option} is {given}; give {least} or more" in capsys.readouterr().err


def test_a_text_encoder_starts_with_its_own_dit_alone(capsys, tmp_path):
    with pytest.raises(SystemExit):
        cli.main(["train", "dit", "--smoke", "--out", str(tmp_path), "--from-text", "text.safetensors"])
    assert "give --from too" in capsys.readouterr().err


def say(folder, *said: object):
    cli.main(["inspect", "--dit", str(folder / "t2v.safetensors"), "--recipe", "saber", "--out", str(folder / "i.png"),
              "--width", "64", "--height", "64", "--frames", "9", *map(str, said)])  # fmt: skip


def test_inspect_says_what_each_reference_does_and_draws_it(folder, capsys):
    toy = folder / "toy.png"
    say(folder, "--reference", toy, "--reference", toy, "--strength", "-", "--strength", 0.5,
        "--steps-window", "0:0.5", "--steps-window", "-", "--frames-window", "-", "--frames-window", "1:4",
        "--sees", "video", "--sees", "-")  # fmt: skip
    said = capsys.readouterr().out
    first, second = said.splitlines()[1:3]
    assert "strength 1, from 0% to 50% of the schedule, apart from the others" in first
    assert "strength 0.5, acts on 33% of the video" in second
    assert (folder / "i.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (["--steps-window", "0.5"], "--steps-window 0.5: needed 2 to 4 numbers"),
        (["--steps-window", "0.8:0.2"], "--steps-window 0.8:0.2: step window is 0.8 to 0.2"),
        (["--frames-window", "0:99"], "frame window is 0 to 99; the video has the frames 0 to 8"),
        (["--sees", "nobody"], "sees is 'nobody'; choose one of recipe, all, video, itself, frames"),
        (["--strength", "strong"], "--strength strong: could not convert"),
        (["--strength", "1", "--strength", "1"], "--strength: 2 given for 1 references"),
    ],
)
def test_controls_that_make_no_sense_are_refused_by_name(folder, capsys, said, message):
    with pytest.raises(SystemExit):
        say(folder, "--reference", folder / "toy.png", *said)
    assert message in capsys.readouterr().err


def test_controls_reach_the_clip_and_eager_agrees(folder):
    window = ["--reference", folder / "toy.png", "--steps-window", "0:0.4", "--strength", 0.5]
    clips = {}
    for name, more in {"auto": window, "eager": [*window, "--attention", "eager"], "all": window[:2]}.items():
        generate(folder, *more)
        clips[name] = torch.stack(frames(folder)).float()
    same, other = ((clips["auto"] - clips[name]).abs().mean() for name in ("eager", "all"))
    # A video codec stands between, which answers another rounding here and there with another byte.
    assert same < 0.25 and other > 20 * same, (same, other)


def test_guidance_reaches_the_clip_and_one_image_scale_for_all_is_joint(folder):
    def clip(*said: str):
        generate(folder, "--reference", folder / "toy.png", "--scale", "4", *said)
        return frames(folder)

    plain = clip()
    same = clip("--image-scale", "4", "--guidance-window", "0:1", "--renorm", "off")
    assert all(torch.equal(a, b) for a, b in zip(plain, same, strict=True))
    for said in (("--image-scale", "1.5"), ("--guidance-window", "0:0.1"), ("--renorm", "clip")):
        assert any((a != b).any() for a, b in zip(plain, clip(*said), strict=True)), said


def test_given_frames_are_in_the_clip_and_the_others_follow_them(folder):
    """A white first frame and a black last one; the DiT is random, so only that it is heard is checked of the
    frame between."""
    for name, value in (("white", 1.0), ("black", 0.0)):
        media.write_picture(folder / f"{name}.png", torch.full((32, 48, 3), value))
    generate(folder)
    free = frames(folder)
    generate(folder, "--given", f"{folder / 'white.png'}@0", "--given", f"{folder / 'black.png'}@-1")
    clip = frames(folder)
    means = [float(frame.float().mean()) for frame in clip]
    bare = [float(frame.float().mean()) for frame in free]
    assert means[0] != bare[0] and all((a != b).any() for a, b in zip(clip, free, strict=True))
    generate(folder, "--given", f"{folder / 'white.png'}@0", "--given", f"{folder / 'white.png'}@-1")
    assert any((a != b).any() for a, b in zip(clip, frames(folder), strict=True))


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("first.png", "first.png: needed FILE@AT"),
        ("toy.png@0-4", "1 pictures for 5 frames"),
        ("toy.png@x", "frames: 'x' in 'x' is no frame"),
        ("fit.png@9", "frame 9 lies outside the video"),
        ("none.png@0", "--given: there is no file"),
    ],
)
def test_frames_that_make_no_sense_are_refused_by_name(folder, capsys, said, message):
    media.write_picture(folder / "fit.png", torch.zeros(32, 48, 3))
    with pytest.raises(SystemExit, match="2"):
        generate(folder, "--given", f"{folder}/{said}")
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (("--scale", "nan"), "--scale is nan; needed a number, 0 to 100"),
        (("--image-scale", "-1"), "--image-scale -1.0: scale is -1.0"),
        (("--guidance-window", "1:0"), "--guidance-window 1:0: step window is 1.0 to 0.0"),
    ],
)
def test_guidance_that_makes_no_sense_is_refused_by_name(folder, capsys, said, message):
    with pytest.raises(SystemExit, match="2"):
        generate(folder, "--reference", folder / "toy.png", *said)
    assert message in capsys.readouterr().err


def test_comfyui_files_needs_a_folder(tmp_path, capsys):
    with pytest.raises(SystemExit):
        cli.main(["comfyui-files", "--dest", str(tmp_path / "nowhere")])
    assert "is not a folder" in capsys.readouterr().err


def test_the_command_line_is_imported_and_every_help_answers_with_pythons_own_modules_alone():
    ran = subprocess.run(
        [sys.executable, "-c", HELP, str(ROOT)], capture_output=True, text=True, check=True, timeout=PROCESS
    )
    found = json.loads(ran.stdout)
    parts = ["generate", "long", "edit", "inspect", "demo", "identity", "identity make", "train", "score"]
    assert found.keys() >= {"import", "", *parts, "ablate", "comfyui-files"}
    for command, (code, said, strangers) in found.items():
        assert strangers == [], f"refvid {command} brings {', '.join(strangers)}"
        assert code == 0 and said.startswith("usage: refvid"), (command, code, said)


def test_a_folder_takes_none_of_the_demo_worlds_options(tmp_path, capsys):
    for option in (["--toys", "0"], ["--seeds", "0"], ["--controls"], ["--words"], ["--level", "still"]):
        with pytest.raises(SystemExit):
            cli.main(["score", str(tmp_path), *option])
        assert "makes clips in the demo world" in capsys.readouterr().err
