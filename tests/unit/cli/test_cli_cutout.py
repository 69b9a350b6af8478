"""`--cutout`: whose subject is cut out and whose is not, what is refused, and that the mask arrives."""

import argparse
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from refvid_birefnet import write_birefnet
from torch import Tensor

from refvid import cli, media
from refvid.cli.reference import add_reference_options, read_references
from refvid.core.references import make_reference
from refvid.data.models import subject_cutter
from refvid.data.models.birefnet import load_birefnet
from refvid.media.reference_files import write_reference


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pictures with and without a mask of their own, and a small BiRefNet."""
    folder = tmp_path_factory.mktemp("pictures")
    write_birefnet(folder / "birefnet.safetensors")
    picture = torch.rand(40, 48, 4, generator=torch.Generator().manual_seed(0))
    media.write_picture(folder / "photo.png", picture[..., :3])
    media.write_picture(folder / "opaque.png", torch.cat([picture[..., :3], torch.ones(40, 48, 1)], -1))
    picture[..., 3] = half()
    media.write_picture(folder / "clear.png", picture)
    media.write_picture(folder / "mask.png", picture[..., 3:].expand(-1, -1, 3))
    write_reference(folder / "saved.png", make_reference(picture[..., :3]))
    return folder


@pytest.fixture(autouse=True)
def inside(folder, monkeypatch):
    """There, with a small square, and each model file loaded once."""
    monkeypatch.setattr(subject_cutter, "CUTTER_SIDE", 64)
    monkeypatch.setattr(subject_cutter, "load_birefnet", loaded)
    monkeypatch.chdir(folder)


@cache
def loaded(path):
    return load_birefnet(path)


def read(*said: str) -> list:
    parser = argparse.ArgumentParser()
    add_reference_options(parser)
    return read_references(parser.parse_args(["--cutout", "birefnet.safetensors", *said]))


def cut(file: str) -> Tensor:
    return subject_cutter.SubjectCutter(Path("birefnet.safetensors"))(media.read_picture(file, "x"))


def half() -> Tensor:
    return (torch.arange(40) < 20).float()[:, None].expand(40, 48)


@pytest.mark.parametrize("name", ["photo.png", "opaque.png"])
def test_the_subject_of_a_picture_without_a_mask_is_cut_out_and_told(name, capsys):
    (one,) = read("--reference", name)
    assert torch.equal(one.mask, cut(name)) and 0.05 < one.mask.std()
    assert f"refvid: --cutout: the subject is {cut(name).mean():.0%} of {name}" in capsys.readouterr().err


def test_each_mask_of_its_own_stands_above_what_would_be_cut_out(capsys):
    names = ("photo.png", "photo.png", "clear.png", "saved.png")
    given = [text for name in names for text in ("--reference", name)]
    mine, photo, clear, saved = read(*given, *(t for m in ("mask.png", "-", "-", "-") for t in ("--mask", m)))
    assert torch.equal(mine.mask, half()) and torch.equal(clear.mask, half()) and saved.mask.eq(1).all()
    assert torch.equal(photo.mask, cut("photo.png"))
    assert capsys.readouterr().err.count("the subject is") == 1


def test_nothing_to_cut_out_is_said_without_the_model_being_read(capsys, monkeypatch):
    monkeypatch.setattr(subject_cutter, "load_birefnet", None)
    (one,) = read("--reference", "clear.png")
    assert torch.equal(one.mask, half()) and "nothing is cut out" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["clear.png", "photo.png"])
def test_a_mask_for_every_reference_leaves_nothing_to_cut_out(name):
    with pytest.raises(
        ValueError, match=r"^--cutout: every reference has a --mask, .* leave one of the two out$"
    ):
        read("--reference", name, "--mask", "mask.png")


def test_a_picture_in_which_nothing_stands_out_is_named(monkeypatch):
    monkeypatch.setattr(
        subject_cutter.SubjectCutter, "__call__", lambda _, picture: torch.zeros(picture.shape[:2])
    )
    with pytest.raises(ValueError, match=r"^--cutout: nothing stands out in photo.png; give it a --mask$"):
        read("--reference", "photo.png")


OUT = ("--out", "no.mp4")
COMMANDS = {
    "generate": ("generate", "--prompt", "a toy", *OUT, "--reference", "photo.png"),
    "long": ("long", "--prompt", "a toy", *OUT, "--reference", "photo.png"),
    "edit": ("edit", "--video", "gone.mp4", "--instruction", "make it red", *OUT, "--reference", "photo.png"),
    "inspect": ("inspect", "--reference", "photo.png", "--out", "no.png"),
    "identity": ("identity", "make", "--video", "gone.mp4", "--out", "no.safetensors"),
}
NO_CUTTER = {
    "u2net.onnx": "u2net.onnx is no .safetensors; models of rembg (u2net, isnet: .onnx) and pickles are not read. ",
    "gone.safetensors": "there is no file gone.safetensors; ",
}


def refused(capsys, *said: str) -> str:
    with pytest.raises(SystemExit, match="2"):
        cli.main(said)
    return capsys.readouterr().err.strip()


@pytest.mark.parametrize("file", NO_CUTTER)
@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_refuses_other_files_by_name_and_says_where_one_is(command, file, capsys):
    told = refused(capsys, *COMMANDS[command], "--cutout", file)
    assert told.startswith(f"refvid: --cutout: {NO_CUTTER[file]}") and "\n" not in told
    assert "eeded birefnet.safetensors of huggingface.co/Comfy-Org/BiRefNet" in told


def test_a_file_of_another_model_is_refused_by_the_key_that_it_lacks(capsys):
    from safetensors.torch import save_file

    save_file({"bb.other": torch.zeros(1)}, "other.safetensors")
    told = refused(capsys, *COMMANDS["inspect"], "--cutout", "other.safetensors")
    assert told.startswith("refvid: --cutout: birefnet: other.safetensors has no bb.") and "Comfy-Org" in told


def test_inspect_shows_the_subject_that_was_cut_out(capsys):
    cli.main([*COMMANDS["inspect"], "--cutout", "birefnet.safetensors"])
    assert "the subject is" in capsys.readouterr().err and media.read_picture("no.png", "x").std() > 0


def test_an_identitys_pictures_are_cut_out_one_by_one(monkeypatch, capsys):
    from refvid.cli import identity
    from refvid.hosts.plain import identities

    monkeypatch.setattr(identity, "load_files", lambda _: SimpleNamespace(vae=None))
    clip = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(1)).movedim(0, 1)
    media.write_video("frames", clip * 2 - 1, 8)
    seen = {}

    def stop(_adapter, _vae, video, masks, _anchor):
        seen.update(video=video, masks=masks)
        raise ValueError("seen")

    monkeypatch.setattr(identities, "encode_identity", stop)
    make = (
        "identity",
        "make",
        "--video",
        "frames",
        "--out",
        "no.safetensors",
        "--cutout",
        "birefnet.safetensors",
    )
    assert refused(capsys, *make).endswith("refvid: seen")
    cutter = subject_cutter.SubjectCutter(Path("birefnet.safetensors"))
    assert torch.equal(seen["masks"], torch.stack([cutter(one) for one in seen["video"]]))
    assert "--mask: --cutout finds the subject; leave it out" in refused(capsys, *make, "--mask", "mask.png")


def test_an_identity_of_whole_pictures_is_said_to_be_one(monkeypatch, capsys):
    from refvid.cli import identity
    from refvid.hosts.plain import identities

    def stop(_adapter, _vae, _video, masks, _anchor):
        raise ValueError("no mask" if masks is None else "masked")

    monkeypatch.setattr(identity, "load_files", lambda _: SimpleNamespace(vae=None))
    monkeypatch.setattr(identities, "encode_identity", stop)
    for name, colours in (("frames", torch.rand(3, 3, 32, 32)), ("mask", torch.ones(3, 3, 32, 32))):
        media.write_video(name, colours * 2 - 1, 8)
    make = ("identity", "make", "--video", "frames", "--out", "no.safetensors")
    with pytest.raises(SystemExit):
        cli.main([*make])
    told = capsys.readouterr().err
    assert "without --mask and --cutout all of every picture is taken as the subject" in told
    assert told.endswith("refvid: no mask\n")
    assert refused(capsys, *make, "--mask", "mask").endswith("refvid: masked")
