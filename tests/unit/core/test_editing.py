"""Instruction editing without ComfyUI: prompts, padding, windows, files, the command."""

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
import refvid_tiny as tiny
import torch
from hypothesis import given
from hypothesis import strategies as st

from refvid import cli, media
from refvid.backbones.wan.geometry import WAN_2_1
from refvid.backbones.wan.loading import load_dit, load_modules
from refvid.core.checkpoint import save_model
from refvid.core.editing import LONGEST_EDIT, PREFIX, Windows, edit_prompt, fitted_size, padded
from refvid.core.lora import lora_key
from refvid.core.semantic import as_frames, as_tokens, spare_frames
from refvid.hosts.plain import edit_film
from refvid.hosts.plain.edit_film import with_editing_adapter
from refvid.hosts.plain.pipeline import load_pipeline

SIDE, STEPS = 32, 2


def test_the_prompt_has_the_released_form_and_needs_words():
    assert edit_prompt(" make the car red\n") == "[Video edit] make the car red" and PREFIX == "[Video edit]"
    with pytest.raises(ValueError, match="instruction is empty"):
        edit_prompt(" \n")


@given(st.integers(2, 40))
def test_padding_repeats_the_last_picture_up_to_4k_plus_1(count):
    clip = torch.arange(count).view(-1, 1, 1, 1).expand(-1, 2, 2, 3).float()
    made = padded(clip, WAN_2_1)
    assert len(made) % 4 == 1 and 0 <= len(made) - count < 4
    assert torch.equal(made[:count], clip) and (made[count:] == count - 1).all()


@pytest.mark.parametrize("count", [0, 1, LONGEST_EDIT + 1, 10_000])
def test_clips_of_other_lengths_are_refused_with_the_limits(count):
    with pytest.raises(ValueError, match=rf"source has {count} pictures; needed 2 to 961"):
        padded(torch.zeros(1, 1, 1, 1).expand(count, 16, 16, 3), WAN_2_1)
    with pytest.raises(ValueError, match="NaN"):
        padded(torch.full((2, 16, 16, 3), torch.nan), WAN_2_1)


@given(st.data(), st.integers(3, 20), st.integers(1, 200))
def test_windows_cover_every_frame_and_share_what_was_asked(data, frames, video):
    shared = data.draw(st.integers(1, frames - 2))
    windows = Windows(4, 4 * frames - 3, 4 * shared)
    spans = windows.spans(video)
    assert spans[0][0] == 0 and spans[-1][1] == video
    assert all(stop - start == min(frames, video) for start, stop in spans)
    for (start, stop), (after, _) in pairwise(spans):
        assert start < after <= stop - shared
    assert windows.weights(5).tolist() == [1, 2, 3, 2, 1] and windows.weights(4).tolist() == [1, 2, 2, 1]


@pytest.mark.parametrize(
    ("length", "overlap", "says"),
    [
        (80, 32, "window is 80"),
        (1, 4, "window is 1"),
        (81, 30, "overlap is 30"),
        (9, 8, "overlap is 8"),
        (9, 0, "overlap is 0"),
    ],
)
def test_windows_of_other_lengths_are_refused(length, overlap, says):
    with pytest.raises(ValueError, match=says):
        Windows(4, length, overlap)


@given(st.integers(16, 4000), st.integers(16, 4000))
def test_a_fitted_size_keeps_aspect_and_area(width, height):
    made = fitted_size(width, height, 832 * 480, 16)
    assert all(side % 16 == 0 and side >= 16 for side in made)
    if 0.5 < width / height < 2:
        assert made[0] / made[1] == pytest.approx(width / height, rel=0.05)
        assert made[0] * made[1] == pytest.approx(832 * 480, rel=0.06)


@given(st.integers(1, 3), st.integers(1, 70), st.integers(1, 40))
def test_tokens_come_back_from_their_frames(batch, count, features):
    shape = (batch, 16, 5, 4, 6)
    tokens = torch.randn(batch, count, features)
    frames = as_frames(tokens, shape)
    assert frames.shape[2] == spare_frames(count * features, shape) == -(-count * features // (16 * 24))
    assert torch.equal(as_tokens(frames, count, features), tokens)


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    folder, sizes = tmp_path_factory.mktemp("models"), tiny.config()
    tiny.save_dit(folder, "sama.safetensors", sizes, tiny.sama_state(sizes))
    tiny.save_dit(folder, "dit.safetensors", sizes, tiny.dit_state(sizes), recipe="saber")
    save_model(tiny.semantic_state(sizes.width), folder / "adapter.safetensors", dtype=torch.float32)
    tiny.save_vae(folder, width=4)
    tiny.save_text_encoder(folder)
    film(folder / "film.mp4", 7)
    return folder


def film(path: Path, count: int, side: int = 40) -> None:
    """A film of 24000/1001 pictures a second with a tone of AAC."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=Fraction(24000, 1001))
        video.width, video.height, video.pix_fmt = side, side, "yuv420p"
        sound = container.add_stream("aac", rate=44100)
        generator = np.random.default_rng(0)
        for _ in range(count):
            picture = generator.integers(0, 255, (side, side, 3), dtype=np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(video.encode())
        wave = (8000 * np.sin(np.arange(12288) / 20)).astype(np.int16)[None]
        frame = av.AudioFrame.from_ndarray(wave, format="s16", layout="mono")
        frame.rate = 44100
        container.mux(sound.encode(frame))
        container.mux(sound.encode())


def packets(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]


def run(files: Path, out: Path, *more: object, dit: str = "sama", video: str = "film.mp4") -> None:
    given = ["--dit", files / f"{dit}.safetensors", "--vae", files / "vae.safetensors"]
    given += ["--text-encoder", files / "text.safetensors", "--device", "cpu", "--out", out]
    asked = ["--video", files / video, "--width", SIDE, "--height", SIDE, "--steps", STEPS]
    cli.main(["edit", *map(str, [*given, *asked, *more])])


def test_a_real_film_is_edited_with_its_length_rate_and_sound(files, tmp_path, capsys):
    run(files, tmp_path / "out.mp4", "--instruction", "make the toy red")
    made = media.read_film(tmp_path / "out.mp4", "made", LONGEST_EDIT)
    assert made.pictures.shape == (7, SIDE, SIDE, 3) and made.rate == Fraction(24000, 1001)
    assert packets(tmp_path / "out.mp4") == packets(files / "film.mp4") != []
    assert "7 frames, 32x32, 23.976 a second" in capsys.readouterr().out


@pytest.fixture
def written(monkeypatch) -> list[torch.Tensor]:
    """The videos before they are encoded: H.264 does not make the same twice."""
    videos, real = [], media.write_video

    def write(path, video, *more):
        videos.append(video)
        real(path, video, *more)

    monkeypatch.setattr(media, "write_video", write)
    return videos


def test_the_modules_as_an_adapter_make_what_the_whole_file_makes(files, tmp_path, written):
    run(files, tmp_path / "x.mp4", "--instruction", "make it red")
    adapter = ("--adapter", files / "adapter.safetensors")
    run(files, tmp_path / "x.mp4", "--instruction", "make it red", *adapter, dit="dit")
    run(files, tmp_path / "x.mp4", "--instruction", "make it red", "--recipe", "in_context")
    torch.testing.assert_close(written[0], written[1], atol=1e-4, rtol=0)
    assert (written[0] - written[2]).abs().max() > 0.01


def test_windows_are_used_where_a_film_is_longer(files, tmp_path, written):
    film(files / "long.mp4", 13)
    for more in ((), ("--window", 13), ("--window", 9)):
        overlap = ("--overlap", 4) if more else ()
        run(files, tmp_path / "x.mp4", "--instruction", "a toy", *more, *overlap, video="long.mp4")
    torch.testing.assert_close(written[0], written[1], atol=1e-4, rtol=0)
    assert (written[0] - written[2]).abs().max() > 1e-3


def refused(files: Path, tmp_path: Path, capsys, *more: object, **how: str) -> str:
    with pytest.raises(SystemExit, match="2"):
        run(files, tmp_path / "no.mp4", *more, **how)
    assert not (tmp_path / "no.mp4").exists()
    return capsys.readouterr().err


def test_bad_input_ends_in_one_line(files, tmp_path, capsys):
    (files / "torn.mp4").write_bytes((files / "film.mp4").read_bytes()[:300])
    (files / "words.mp4").write_text("not a film")
    film(files / "one.mp4", 1)
    ask = ("--instruction", "make it red")
    assert "instruction is empty" in refused(files, tmp_path, capsys, "--instruction", " ")
    for name in ("torn.mp4", "words.mp4"):
        assert "is not a video that can be read" in refused(files, tmp_path, capsys, *ask, video=name)
    assert "source has 1 pictures" in refused(files, tmp_path, capsys, *ask, video="one.mp4")
    assert "there is no file" in refused(files, tmp_path, capsys, *ask, video="none.mp4")
    assert "choose one of sama, in_context" in refused(files, tmp_path, capsys, *ask, dit="dit")
    named = refused(files, tmp_path, capsys, *ask, "--recipe", "sama", dit="dit")
    assert "segment_embedding, siglip_feat_mlp and semantic_head" in named


def test_decoding_stops_where_a_film_is_too_long(files):
    with pytest.raises(ValueError, match="more than 5 frames"):
        media.read_film(files / "film.mp4", "--video", 5)


def test_modules_are_read_from_the_released_layout_and_what_is_missing_is_named(files, tmp_path):
    sizes = tiny.config()
    state = tiny.sama_state(sizes)
    modules = load_modules(files / "sama.safetensors")
    assert modules is not None and modules.config.features == 24
    for key, value in modules.state_dict().items():
        assert torch.equal(value, state[key])
    assert load_dit(files / "sama.safetensors")[0].config == sizes
    assert load_modules(files / "dit.safetensors") is None
    torn = {key: value for key, value in state.items() if not key.startswith("semantic_head.proj")}
    tiny.save_dit(tmp_path, "torn.safetensors", sizes, torn)
    with pytest.raises(ValueError, match=r"has no semantic_head\.proj\.weight, semantic_head\.proj\.bias"):
        load_modules(tmp_path / "torn.safetensors")


def test_an_adapter_of_another_width_or_kind_changes_nothing(files, tmp_path):
    backbone = load_pipeline(*(files / f"{n}.safetensors" for n in ("dit", "vae", "text")))
    before = {key: value.clone() for key, value in backbone.dit.state_dict().items()}
    save_model(tiny.semantic_state(48), tmp_path / "wide.safetensors", dtype=torch.float32)
    with pytest.raises(ValueError, match="holds them for a Wan of width 48"):
        with_editing_adapter(backbone, tmp_path / "wide.safetensors", 1.0, "--adapter")
    told = {"refvid.kind": "slot_id", "refvid.version": "1"}
    save_model(tiny.semantic_state(96), tmp_path / "kind.safetensors", told, torch.float32)
    with pytest.raises(ValueError, match="is no sama file"):
        with_editing_adapter(backbone, tmp_path / "kind.safetensors", 1.0, "--adapter")
    with pytest.raises(ValueError, match="holds none of segment_embedding"):
        with_editing_adapter(backbone, files / "dit.safetensors", 1.0, "--adapter")
    assert all(torch.equal(value, before[key]) for key, value in backbone.dit.state_dict().items())


@pytest.mark.parametrize("strength", [0.5, 2.0])
def test_an_editing_adapter_s_lora_counts_by_its_strength(files, tmp_path, strength):
    """Its alpha is its rank: a change of strength times B A."""
    lora = tiny.lora_of(tiny.config(), "self_attn")
    save_model(tiny.semantic_state(96) | lora, tmp_path / "adapter.safetensors", dtype=torch.float32)
    backbone = load_pipeline(*(files / f"{n}.safetensors" for n in ("dit", "vae", "text")))
    before = {key: value.clone() for key, value in backbone.dit.state_dict().items()}
    with_editing_adapter(backbone, tmp_path / "adapter.safetensors", strength, "--adapter")
    up, down = (lora[lora_key(1, "v", f"lora_{end}.weight", "self_attn")] for end in "BA")
    name = "blocks.1.self_attn.v.weight"
    torch.testing.assert_close(backbone.dit.state_dict()[name], before[name] + strength * up @ down)


def test_the_film_is_fitted_as_was_asked(files, tmp_path, monkeypatch):
    asked, real = [], edit_film.fitted_pictures
    monkeypatch.setattr(edit_film, "fitted_pictures", lambda *given: asked.append(given[3]) or real(*given))
    for fit in ("pad", "crop"):
        run(files, tmp_path / "out.mp4", "--instruction", "make it red", "--fit", fit)
    assert asked == ["pad", "crop"]
