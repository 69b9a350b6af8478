"""Films on backbones that are no Wan: given frames, long videos, edits and identities, by their groups and
patches."""

from itertools import pairwise, product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from refvid_geometries import COARSE, FOREIGN, STRANGE, UNEVEN, cells_of, foreign, spans
from torch import Tensor

from refvid.backbones.wan.geometry import WAN
from refvid.core.adapter import load_adapter, save_adapter
from refvid.core.editing import Windows, fitted_size, padded
from refvid.core.frames import Placed, clips_to_encode, given_frames, indices_of
from refvid.core.long_video import LongVideo
from refvid.core.motion import PRETEXTS, perturb
from refvid.core.reference_video import cover, make_reference_video
from refvid.core.slots import SlotEncoder, SlotsConfig, place_tokens
from refvid.drawing.routing import routing_rows

geometries = st.sampled_from(list(FOREIGN.values()))


def film(count: int, side: int = 2) -> Tensor:
    """Picture k is k everywhere."""
    return torch.arange(float(count))[:, None, None, None].expand(-1, side, side, 3)


# ---- given frames and long videos


@settings(max_examples=60)
@given(data=st.data(), geometry=geometries, frames=st.integers(2, 5))
def test_given_pictures_stand_in_latent_frames_of_the_group(data, geometry, frames):
    """A stand-in encoder whose latent frame is the mean of its pictures: what a causal VAE may know of
    them."""
    held = spans(geometry, frames)
    whole = data.draw(st.sets(st.integers(0, frames - 1), min_size=1))
    single = data.draw(st.dictionaries(st.integers(1, frames - 1), st.integers(0, geometry.group - 1)))
    places = {f: list(range(*held[f])) for f in whole}
    places |= {f: [held[f][0] + offset] for f, offset in single.items() if f not in whole}
    indices = data.draw(st.permutations([index for found in places.values() for index in found]))

    def encode(pictures: Tensor) -> Tensor:
        values = pictures[:, 0, 0, 0]
        parts = [values[:1], *(part for part in values[1:].split(geometry.group) if len(part))]
        return torch.stack([part.mean() for part in parts])[None, None, :, None, None]

    stride = geometry.stride
    pictures = torch.tensor(indices).float()[:, None, None, None].expand(-1, stride, 2 * stride, 3)
    found = given_frames(Placed(pictures, list(indices)), encode, torch.zeros(1, 1, frames, 1, 2), geometry)
    assert set(found.replaced.nonzero()[:, 0].tolist()) == set(places)
    for frame in range(frames):
        expected = sum(places[frame]) / len(places[frame]) if frame in places else 0
        assert found.latent[0, 0, frame, 0].tolist() == pytest.approx([expected, expected])


@pytest.mark.parametrize(
    ("geometry", "task", "count", "length", "indices"),
    [
        (COARSE, "prediction", 9, 17, list(range(9))),
        (COARSE, "every n-th", 3, 33, [0, 16, 32]),
        (COARSE, "multi-view", 1, 49, [0]),
        (STRANGE, "prediction", 4, 7, [0, 1, 2, 3]),
        (STRANGE, "every n-th", 3, 7, [0, 3, 6]),
        (STRANGE, "multi-view", 1, 19, [0]),
    ],
)
def test_tasks_stand_where_latent_frames_of_the_group_do(geometry, task, count, length, indices):
    assert indices_of(task, count, length, geometry) == indices


@pytest.mark.parametrize(
    ("geometry", "task", "count", "length", "needs"),
    [
        (COARSE, "prediction", 5, 17, r"needs 1, 9, 17, … pictures \(latent frames hold 8\)"),
        (COARSE, "every n-th", 5, 17, "equal parts of 8 pictures"),
        (COARSE, "multi-view", 1, 25, "a video of 49: six views of 8 pictures"),
        (STRANGE, "prediction", 5, 9, r"needs 1, 4, 7, … pictures \(latent frames hold 3\)"),
        (STRANGE, "every n-th", 3, 9, "equal parts of 3 pictures"),
        (STRANGE, "multi-view", 1, 25, "a video of 19: six views of 3 pictures"),
    ],
)
def test_what_wan_could_do_and_this_one_cannot_is_refused_in_its_own_numbers(
    geometry, task, count, length, needs
):
    with pytest.raises(ValueError, match=needs):
        indices_of(task, count, length, geometry)


@foreign
def test_latent_frames_given_by_all_their_pictures_are_encoded_together(geometry):
    """Behind the first of those pictures, which stands for the video's first latent frame."""
    group = geometry.group
    indices = list(range(group + 1, 3 * group + 1))
    (clip,) = clips_to_encode(Placed(film(len(indices)), indices), 1 + 3 * group, 2, 2, group)
    assert (clip.at, clip.skip) == (2, 1)
    assert clip.pictures[:, 0, 0, 0].tolist() == [0, *range(2 * group)]


@foreign
def test_a_latent_frame_given_in_part_is_refused_with_its_pictures(geometry):
    group = geometry.group
    message = f"frames {group + 1}, {group + 2} lie in one latent frame, {group + 1} to {2 * group}: .* or all {group}$"
    with pytest.raises(ValueError, match=message):
        clips_to_encode(Placed(film(2), [group + 1, group + 2]), 1 + 3 * group, 2, 2, group)


@foreign
def test_segments_of_a_long_video_end_in_a_latent_frame_that_holds_the_second_key(geometry):
    group = geometry.group
    plan = LongVideo(group, 3, 2 * group)
    assert plan.segment == 3 * group + 1 == geometry.whole(plan.segment) and plan.length == 4 * group
    for pair in plan.pairs(film(3)):
        held = clips_to_encode(plan.given(pair, "own"), plan.segment, 2, 2, group)
        assert [(clip.at, len(clip.pictures)) for clip in held] == [(0, 1), (3, 1 + group)]
    with pytest.raises(ValueError, match=f"stride is {group + 1}; needed a multiple of {group} pictures"):
        LongVideo(group, 3, group + 1)


# ---- edits


@given(geometries, st.integers(2, 60))
def test_padding_fills_the_last_latent_frame(geometry, count):
    made = padded(film(count), geometry)
    filled = next(stop for _, stop in spans(geometry, 60) if stop >= count)
    assert torch.equal(made, film(filled).clamp(max=count - 1))


@given(st.data(), geometries, st.integers(3, 12), st.integers(1, 60))
def test_windows_are_counted_in_latent_frames_of_the_group(data, geometry, frames, video):
    shared = data.draw(st.integers(1, frames - 2))
    windows = Windows(geometry.group, spans(geometry, frames)[-1][1], shared * geometry.group)
    assert (windows.frames, windows.shared) == (frames, shared)
    covered = windows.spans(video)
    assert covered[0][0] == 0 and covered[-1][1] == video
    assert all(start < after <= stop - shared for (start, stop), (after, _) in pairwise(covered))


@foreign
def test_windows_that_cut_through_a_latent_frame_are_refused_in_its_pictures(geometry):
    group = geometry.group
    rule = rf"window is {2 * group}; needed {group}k \+ 1 pictures: {1 + group}, {1 + 2 * group}, …"
    with pytest.raises(ValueError, match=rule):
        Windows(group, 2 * group, group)
    with pytest.raises(
        ValueError, match=f"overlap is {group + 1}; needed a multiple of {group}, from {group}"
    ):
        Windows(group, 1 + 3 * group, group + 1)


@foreign
def test_a_fitted_size_is_in_whole_tokens_of_the_geometry(geometry):
    token = geometry.token
    assert fitted_size(3 * token + 1, 5 * token - 1, 15 * token**2, token) == (3 * token, 5 * token)


@given(geometries, st.integers(2, 100))
def test_a_faster_clip_moves_through_whole_latent_frames_and_then_stands_still(geometry, frames):
    group, least = geometry.group, 1 + 2 * geometry.group
    assert PRETEXTS["speed"].least(group) == least
    if frames < least:
        with pytest.raises(ValueError, match=f"clip has {frames} of the {least} frames that 'speed' needs"):
            perturb("speed", film(frames), torch.Generator(), group)
        return
    taken = list(range(0, frames, 2))
    moving = max(stop for _, stop in spans(geometry, len(taken)) if stop <= len(taken))
    wanted = [taken[min(index, moving - 1)] for index in range(frames)]
    assert perturb("speed", film(frames), torch.Generator(), group)[:, 0, 0, 0].tolist() == wanted


# ---- identities


@given(geometries, st.integers(2, 40), st.integers(1, 4))
def test_a_reference_video_fills_latent_frames_of_the_group(geometry, count, most):
    most = geometry.pictures(1 + most)
    video = make_reference_video(film(count, 8) / 100, None, most, 8, geometry)
    filled = [stop for _, stop in spans(geometry, 60) if stop <= count]
    assert len(video.pictures) == min(most, max(1 + geometry.group, filled[-1]))


@foreign
def test_cover_is_the_mean_over_the_geometrys_tokens_and_groups(geometry):
    side = geometry.patch * geometry.stride
    held = spans(geometry, 3)
    masks = torch.rand(held[-1][1], 2 * side, 3 * side)
    got = cover(masks, geometry)
    for (frame, (start, stop)), row, column in product(enumerate(held), range(2), range(3)):
        part = masks[start:stop, row * side : (row + 1) * side, column * side : (column + 1) * side]
        torch.testing.assert_close(got[frame, row, column], part.mean())


def config_for(geometry, **more: int) -> SlotsConfig:
    """A small encoder, whose clips are three latent frames of two tokens on a side."""
    sizes = {"frames": geometry.pictures(3), "size": 2 * geometry.token, **more}
    return SlotsConfig(geometry.channels, 96, width=16, place_width=4, slots=3, anchors=2, **sizes)


@foreign
def test_tokens_of_the_slot_encoder_hold_the_geometrys_patch_and_its_place(geometry):
    latent = torch.randn(1, geometry.channels, 2, 2 * geometry.patch, 3 * geometry.patch)
    tokens = place_tokens(latent, geometry.patch, 4)
    assert tokens.shape[2] == 6
    for frame, row, column in product(range(2), range(2), range(3)):
        held = cells_of(latent[0], geometry, (frame, row, column)).flatten()
        token = tokens[0, frame, 3 * row + column]
        assert torch.equal(token[: len(held)], held)
        waves = torch.tensor([[place, place / 100.0] for place in (frame, row, column)])
        torch.testing.assert_close(token[len(held) :].view(3, 4), torch.cat([waves.cos(), waves.sin()], 1))


@foreign
def test_a_slot_encoder_reads_what_its_tokens_cover(geometry):
    """One token of the four is covered: every one of its cells is read, and none of the others."""
    torch.manual_seed(0)
    encoder = SlotEncoder(config_for(geometry), geometry.patch)
    encoder.start()
    encoder.requires_grad_(False)
    latent = torch.randn(1, geometry.channels, 3, 2 * geometry.patch, 2 * geometry.patch)
    covered = torch.zeros(1, 3, 2, 2)
    covered[:, :, 1, 0] = 1
    read = lambda clip: encoder(clip, covered, latent[:, :, :1], covered[:, :1]).slots  # noqa: E731
    want = read(latent)
    for row, column in product(range(2 * geometry.patch), repeat=2):
        other = latent.clone()
        other[..., row, column] += 1
        moved = (read(other) - want).abs().max()
        inside = row >= geometry.patch and column < geometry.patch
        assert moved > 1e-3 if inside else moved < 1e-6, (row, column)


@foreign
def test_a_sheet_of_slots_shows_the_first_picture_of_every_latent_frame(geometry):
    config = config_for(geometry)
    encoder = SlotEncoder(config, geometry.patch)
    encoder.start()
    video = make_reference_video(
        torch.rand(config.frames, 20, 20, 3), None, config.frames, config.size, geometry
    )
    latent = torch.randn(1, geometry.channels, 3, 2 * geometry.patch, 2 * geometry.patch)
    shown = cover(video.masks, geometry)[None]
    encoded = encoder(latent, shown, latent[:, :, :1], shown[:, :1])
    cells, titles, _ = routing_rows(video, encoded, geometry.group)
    held = spans(geometry, 3)
    assert titles == ["0", *(f"{start}-{stop - 1}" for start, stop in held[1:])]
    for cell, (start, _) in zip(cells[0], held, strict=True):
        torch.testing.assert_close(cell / 2 + 0.5, video.pictures[start].movedim(-1, 0))


@foreign
@pytest.mark.parametrize("change", [{"frames": 1}, {"frames": 18}, {"size": 79}], ids=str)
def test_an_encoder_whose_clips_leave_a_latent_frame_or_a_token_unfilled_is_refused(geometry, change):
    config_for(geometry).require(geometry)
    other = config_for(geometry, **change)
    said = rf"frames is {other.frames}, size {other.size}; needed {geometry.group} k \+ 1 from {1 + geometry.group} on, and a "
    with pytest.raises(ValueError, match=said + f"multiple of {geometry.token}$"):
        other.require(geometry)


@foreign
def test_an_adapter_is_read_for_the_geometry_of_its_channels(geometry, tmp_path):
    config, path = config_for(geometry), tmp_path / "slot_id.safetensors"
    encoder = SlotEncoder(config, geometry.patch)
    save_adapter(config, encoder.state_dict(), lora(), path, torch.float32)
    adapter = load_adapter(path, {geometry.channels: geometry})
    assert adapter.geometry is geometry
    again = SlotEncoder(adapter.config, geometry.patch)
    again.load_state_dict(adapter.encoder)
    torch.testing.assert_close(again.embed.weight, encoder.embed.weight)
    if geometry.channels not in WAN:
        says = rf"slot_id\.safetensors: .*channels is {geometry.channels}; needed 16 or 48"
        with pytest.raises(ValueError, match=says):
            load_adapter(path, WAN)


def lora() -> dict[str, Tensor]:
    """LoRA of one projection of a block."""
    key = "diffusion_model.blocks.0.cross_attn.q."
    return {key + "lora_A.weight": torch.ones(2, 96), key + "lora_B.weight": torch.ones(96, 2)}


def test_an_adapter_for_a_backbone_of_the_same_channels_and_other_clips_is_refused(tmp_path):
    """Sixteen channels, but clips that fill no latent frames of three pictures."""
    config, path = config_for(UNEVEN), tmp_path / "slot_id.safetensors"
    save_adapter(config, SlotEncoder(config, 2).state_dict(), lora(), path, torch.float32)
    with pytest.raises(
        ValueError, match=r"frames is 9, size 32; needed 3 k \+ 1 from 4 on, and a multiple of 6"
    ):
        load_adapter(path, {16: STRANGE})
