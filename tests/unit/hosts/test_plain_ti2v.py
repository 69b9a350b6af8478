"""TI2V-5B's layout without ComfyUI: 48 channels, cells of 16 pixels, a clock for each frame, through every
command."""

from pathlib import Path

import pytest
import refvid_tiny as tiny
import torch
from refvid_plain import (
    Person,
    condition,
    encode_frames,
    encode_identity,
    encode_pictures,
    encode_references,
    load_pipeline,
    velocity,
)
from torch import Tensor

from refvid import cli, media
from refvid.backbones.base import Tail
from refvid.backbones.wan.geometry import WAN, WAN_2_2
from refvid.core.adapter import load_adapter
from refvid.core.frames import Placed
from refvid.core.guidance import CONDITIONED
from refvid.core.identity import Identity, save_identity
from refvid.core.positions import reference_angles
from refvid.core.recipes import saber
from refvid.core.reference_video import cover
from refvid.core.references import make_reference, prepare
from refvid.core.slots import SlotEncoder

SIZES = tiny.config(48, 48, layers=1)
HEIGHT, WIDTH, FRAMES = 32, 64, 9
GRID = (3, 2, 4)
SIGMA = torch.tensor(0.6)
CLOSE = {"rtol": 0, "atol": 1e-5}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    tiny.save_models(folder, SIZES)
    tiny.save_dit(folder, "dit.safetensors", SIZES, tiny.dit_state(SIZES), recipe="saber")
    for name, sizes in (("own", SIZES), ("other", tiny.config(layers=1))):
        adapter = load_adapter(tiny.save_adapter(folder, sizes, f"{name}.safetensors"), WAN)
        nobody = 3 * adapter.nobody + 1
        who = Identity(nobody[:2], nobody[2:], adapter.fingerprint, torch.zeros(8, 8, 3))
        save_identity(who, folder / f"{name}_somebody.safetensors")
    for index in range(2):
        media.write_picture(folder / f"{index}.png", picture(index))
    film = 2 * torch.rand(3, 17, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(4)) - 1
    media.write_video(folder / "film.mp4", film, 8)
    return folder


@pytest.fixture(scope="module")
def backbone(folder):
    return load_pipeline(*(folder / f"{name}.safetensors" for name in ("dit", "vae", "text")))


def picture(seed: int, height: int = HEIGHT, width: int = WIDTH) -> Tensor:
    return torch.rand(height, width, 3, generator=torch.Generator().manual_seed(seed))


def drawn(*shape: int, seed: int = 6) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def texts() -> dict[str, Tensor]:
    return {
        "positive": drawn(1, 6, tiny.TEXT_WIDTH, seed=1),
        "negative": drawn(1, 4, tiny.TEXT_WIDTH, seed=2),
    }


# ---- one pass, by hand


@pytest.mark.parametrize(("clock", "levels"), [("own", [0, 600, 600]), ("shared", [600, 600, 600])])
@torch.no_grad()
def test_a_first_frame_and_a_reference_are_what_wan_2_2_would_be_given(backbone, clock, levels):
    """A clock for each frame; a reference has that of the noisiest. A cell is 16 pixels, a token 32."""
    dit, vae, latent = backbone.dit, backbone.vae, drawn(1, 48, *GRID)
    first, toy = picture(0), picture(1, 96, 64)
    frames = encode_frames(vae, Placed(first[None], [0], clock), torch.zeros_like(latent))
    mask = torch.zeros(96, 64)
    mask[:40] = 1
    shown = make_reference(toy, mask)
    encoded = encode_references(dit, vae, [shown], saber(), GRID)
    assert encoded is not None and encoded.inputs[0].shape == (1, 48, 1, 2, 4)
    tokens = dit.embed_patches(encoded.inputs[0])[:, encoded.arranged.keep]
    angles = reference_angles(encoded.arranged.layout, dit.geometry.tokens(*GRID), dit.head_size)[
        encoded.arranged.keep
    ][None]
    tail = Tail(tokens, angles, clock=torch.tensor([600.0]))
    given = vae.encode(first.movedim(-1, 0)[None, :, None] * 2 - 1)
    seen = torch.cat([given, latent[:, :, 1:]], dim=2)
    wanted = dit(seen, torch.tensor([levels]).float(), texts()["positive"], tail=tail)
    got = velocity(dit, latent, SIGMA, condition(texts(), encoded, frames=frames), CONDITIONED)
    torch.testing.assert_close(got[:, :, 1:], wanted[:, :, 1:], **CLOSE)
    torch.testing.assert_close(latent[:, :, :1] - SIGMA * got[:, :, :1], given, **CLOSE)


def test_a_reference_is_cut_into_cells_of_sixteen_pixels_and_tokens_of_two(backbone):
    mask = torch.zeros(HEIGHT, WIDTH)
    mask[:, 33:] = 1
    given = make_reference(picture(1), mask)
    encoded = encode_references(backbone.dit, backbone.vae, [given], saber(), GRID)
    assert encoded is not None and encoded.arranged.keep.tolist() == [1], "of two tokens the right one"
    shown = prepare(given, saber(), HEIGHT, WIDTH, 32).picture
    torch.testing.assert_close(encoded.inputs[0], encode_pictures(backbone.vae, shown[None]))


# ---- commands


def made(folder: Path, out: Path, command: str, *more: object) -> Tensor:
    """The pictures (F, H, W, 3) that a command leaves; files are those of the folder."""
    names = (("--dit", "dit"), ("--vae", "vae"), ("--text-encoder", "text"))
    files = [part for option, name in names for part in (option, folder / f"{name}.safetensors")]
    said = [
        folder / one if isinstance(one, str) and one.endswith((".png", ".mp4", ".safetensors")) else one
        for one in more
    ]
    cli.main([command, *map(str, (*files, "--device", "cpu", "--out", out, "--steps", 2, *said))])
    return media.read_video(out, "made")


PROMPT = ("--prompt", "a toy")
SIZE = ("--width", WIDTH, "--height", HEIGHT)
CLIP = ("--frames", FRAMES, *PROMPT, *SIZE)
TOY = ("--reference", "1.png")


def far(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and (a - b).abs().mean().item() > 0.01


def test_a_video_is_generated_with_a_reference_somebody_and_a_first_frame(folder, tmp_path):
    who = ("--identity", "own_somebody.safetensors", "--adapter", "own.safetensors")
    first = ("--given", f"{folder / '0.png'}@0")
    bare = made(folder, tmp_path / "bare.webp", "generate", *CLIP)
    assert bare.shape == (FRAMES, HEIGHT, WIDTH, 3) and bare.std() > 0.01
    for more in (TOY, who, first):
        assert far(made(folder, tmp_path / "more.webp", "generate", *CLIP, *more), bare), more
    both = [
        made(folder, tmp_path / f"{n}.webp", "generate", *CLIP, *first, *more)
        for n, more in enumerate(((), TOY))
    ]
    assert far(both[0][1:], both[1][1:])
    clocks = made(folder, tmp_path / "shared.webp", "generate", *CLIP, *first, "--clock", "shared")
    assert far(clocks[5:], both[0][5:]), "the clock is the frame's own"


def test_a_first_frame_is_what_the_vae_makes_of_it(folder, tmp_path, backbone):
    film = made(folder, tmp_path / "frames", "generate", *CLIP, "--given", f"{folder / '0.png'}@0")
    shown = media.read_video(str(folder / "0.png"), "made")
    with torch.no_grad():
        coded = backbone.vae.decode(encode_pictures(backbone.vae, shown))
    wanted = coded.clamp(-1, 1)[0, :, 0].movedim(0, -1) / 2 + 0.5
    torch.testing.assert_close(film[0], wanted, rtol=0, atol=1.5 / 255)


def test_a_film_is_edited_in_windows(folder, tmp_path):
    asked = ("--video", "film.mp4", "--recipe", "in_context", *SIZE, "--instruction")
    whole = made(folder, tmp_path / "whole.webp", "edit", *asked, "a toy")
    assert whole.shape == (17, HEIGHT, WIDTH, 3)
    assert far(whole, media.read_video(str(folder / "film.mp4"), "made"))
    apart = made(folder, tmp_path / "apart.webp", "edit", *asked, "a toy", "--window", 9, "--overlap", 4)
    assert far(whole, apart) and far(whole, made(folder, tmp_path / "ring.webp", "edit", *asked, "a ring"))


def test_an_edit_has_sides_of_whole_tokens(folder, tmp_path):
    asked = ("--video", "film.mp4", "--recipe", "in_context", "--instruction", "a toy")
    film = made(folder, tmp_path / "x.webp", "edit", *asked, "--width", 96, "--height", 48)
    assert film.shape[1:] in ((32, 96, 3), (64, 96, 3), (32, 64, 3)), "of about as many pixels as 96 x 48"


def test_inspect_counts_tokens_of_32_pixels(folder, tmp_path, capsys):
    mask = torch.zeros(HEIGHT, WIDTH, 3)
    mask[:, WIDTH // 2 :] = 1
    media.write_picture(tmp_path / "right.png", mask)
    files = (
        "--dit",
        folder / "dit.safetensors",
        "--reference",
        folder / "1.png",
        "--mask",
        tmp_path / "right.png",
    )
    cli.main(["inspect", *map(str, (*files, "--frames", FRAMES, *SIZE, "--out", tmp_path / "i.png"))])
    assert "1 of 2 tokens" in capsys.readouterr().out


def test_a_long_video_goes_through_its_keys(folder, tmp_path, backbone):
    keys = tmp_path / "keys"
    for index in range(3):
        media.write_picture(keys / f"{index}.png", picture(10 + index))
    film = made(folder, tmp_path / "frames", "long", *PROMPT, "--from", keys, "--stride", 4)
    assert film.shape == (8, HEIGHT, WIDTH, 3)
    with torch.no_grad():
        coded = backbone.vae.decode(encode_pictures(backbone.vae, media.read_video(str(keys), "made")[:1]))
    wanted = coded.clamp(-1, 1)[0, :, 0].movedim(0, -1) / 2 + 0.5
    torch.testing.assert_close(film[0], wanted, rtol=0, atol=1.5 / 255)


REFUSED = {
    "a width of 16-pixel tokens": ((*CLIP, "--width", 48), "width is 48; needed a multiple of 32"),
    "a height of 16-pixel tokens": ((*CLIP, "--height", 80), "height is 80; needed a multiple of 32"),
    "an adapter of another Wan": (
        (*CLIP, "--identity", "other_somebody.safetensors", "--adapter", "other.safetensors"),
        "--adapter was trained for a Wan of width 96 and latents of 16 channels; the model has 96 and 48",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused_by_name(folder, tmp_path, capsys, case):
    more, message = REFUSED[case]
    with pytest.raises(SystemExit, match="2"):
        made(folder, tmp_path / "x.webp", "generate", *more)
    assert message in capsys.readouterr().err
    assert not (tmp_path / "x.webp").exists()


# ---- who is in a clip


@torch.no_grad()
def test_an_identity_is_read_by_an_adapter_of_48_channels(folder, backbone):
    adapter, clip = (
        load_adapter(folder / "own.safetensors", WAN),
        torch.stack([picture(n, 64, 64) for n in range(9)]),
    )
    masks = torch.zeros(9, 64, 64)
    masks[:, 10:50, 20:60] = 1
    identity, video, _ = encode_identity(adapter, backbone.vae, clip, masks, 5)
    encoder = SlotEncoder(adapter.config, WAN_2_2.patch)
    encoder.load_state_dict({key: value.float() for key, value in adapter.encoder.items()})
    given = []
    for part in (slice(None), slice(5, 6)):
        given += [
            encode_pictures(backbone.vae, video.pictures[part]),
            cover(video.masks[part], WAN_2_2)[None],
        ]
    assert given[0].shape == (1, 48, 3, 4, 4) and given[1].shape[-2:] == (2, 2)
    read = encoder(*given)
    torch.testing.assert_close(identity.slots, read.slots[0], **CLOSE)
    torch.testing.assert_close(identity.anchors, read.anchors[0], **CLOSE)
    assert Person(identity.tokens("both")).tokens.shape == (5, SIZES.width)


def test_a_vae_of_other_latents_than_the_adapter_reads_is_refused(folder, backbone):
    other = load_adapter(folder / "other.safetensors", WAN)
    with pytest.raises(
        ValueError, match="vae makes latents of 48 channels, the adapter reads 16; give the VAE"
    ):
        encode_identity(other, backbone.vae, torch.rand(9, 64, 64, 3))
