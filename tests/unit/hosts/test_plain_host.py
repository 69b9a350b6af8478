"""The plain host: references become tokens of a recipe, and every control has a closed form."""

from dataclasses import replace

import pytest
import refvid_riders as plain
import refvid_stand_in as stand_in
import refvid_tiny as tiny
import torch
from torch import Tensor

from refvid.backbones.base import Tail
from refvid.backbones.wan.dit import WanDiT
from refvid.backbones.wan.geometry import WAN_2_1
from refvid.backbones.wan.vae import WanVAE
from refvid.core.controls import Controls, StepWindow
from refvid.core.guidance import CONDITIONED, MIDDLE, NULL, Guidance, Pass, Scale, joint
from refvid.core.layout import Layout, Stream
from refvid.core.positions import grid_positions, reference_angles, rope_angles
from refvid.core.recipes import RECIPES, recipe_named, saber
from refvid.core.references import make_reference, prepare

# Two layers of fp32 sums in another order, on values near one; a real difference below is above 1e-4.
CLOSE = {"rtol": 0, "atol": 2e-5}
FRAMES, SIDE = 2, 64
GRID = (FRAMES, SIDE // 8, SIDE // 8)  # of the video latent
EMPTY = torch.zeros(1, 16, *GRID)
SIGMA = torch.tensor(0.6)


def made(sizes) -> WanDiT:
    dit = WanDiT(sizes)
    dit.load_state_dict(tiny.dit_state(sizes))
    return dit.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def dit():
    return made(tiny.config())


@pytest.fixture(scope="module")
def vae():
    torch.manual_seed(0)
    return WanVAE(4).eval().requires_grad_(False)


def reference(seed: int, strength: float = 1.0, masked: bool = True, rows: int = 40, columns: int = 60):
    generator = torch.Generator().manual_seed(seed)
    mask = torch.ones(rows, columns)
    if masked:  # another window for every seed
        mask[:, : 5 * seed] = 0
        mask[rows - 4 * seed :] = 0
    return make_reference(torch.rand(rows, columns, 3, generator=generator), mask, Controls(strength))


def three(*strengths: float):
    return [reference(seed, strength) for seed, strength in enumerate(strengths or (1.0, 1.0, 1.0), 1)]


def condition(references=None, padding=None) -> plain.Condition:
    generator = torch.Generator().manual_seed(5)
    texts = {
        name: torch.randn(1, 6, tiny.TEXT_WIDTH, generator=generator) for name in ("positive", "negative")
    }
    return plain.condition(texts, references, padding)


def latent(batch: int = 1) -> Tensor:
    return torch.randn(batch, 16, FRAMES, 8, 8, generator=torch.Generator().manual_seed(6))


def run(dit, references, entry=CONDITIONED, batch: int = 1, sigma: Tensor = SIGMA) -> Tensor:
    return plain.velocity(dit, latent(batch), sigma, condition(references), entry)


def with_tail(dit, tail: Tail | None) -> Tensor:
    """Evaluation with a tail made by hand."""
    return dit(latent(), SIGMA.expand(1) * 1000, condition().texts["positive"].states, tail=tail)


def far(a: Tensor, b: Tensor) -> bool:
    return (a - b).abs().max().item() > 1e-4


def whole_tail(dit, encoded: plain.ReferencesRider) -> tuple[Tensor, Tensor]:
    """Tokens and angles of all references before removal."""
    tokens = torch.cat([dit.embed_patches(part) for part in encoded.inputs], 1)
    return tokens, reference_angles(encoded.arranged.layout, (FRAMES, 4, 4), dit.head_size)[None]


BEHIND = [name for name in RECIPES if recipe_named(name).carrier == "behind"]


# ---- masks and strengths


@pytest.mark.parametrize("recipe", BEHIND)
def test_removing_masked_tokens_equals_masking_them(dit, vae, recipe):
    """Three references, or as many as the recipe takes, which see all."""
    chosen = replace(recipe_named(recipe), sees="all")
    given, lora = three(1.0, 0.5, 3.0)[-chosen.max_references :], stand_in.needed(chosen, dit.config)
    encoded = plain.encode_references(dit, vae, given, chosen, GRID, lora)
    tokens, angles = whole_tail(dit, encoded)
    bias = torch.full((1, tokens.shape[1]), float("-inf"))
    strengths = [s.controls.strength for s in encoded.arranged.layout.streams for _ in range(s.kept)]
    bias[0, encoded.arranged.keep] = torch.tensor(strengths).log()
    assert 0 < len(encoded.arranged.keep) < tokens.shape[1]
    kept = {stream.kept for stream in encoded.arranged.layout.streams}
    assert (len(kept) > 1) == (len(given) > 1)
    clock = torch.zeros(1) if chosen.clock == "own" else None
    masked = Tail(tokens, angles, bias, clock=clock, reads_text=chosen.reads_text, lora=lora)
    torch.testing.assert_close(run(dit, encoded), with_tail(dit, masked), **CLOSE)
    full = tuple(replace(s, kept=s.tokens) for s in encoded.arranged.layout.streams)
    everything = replace(
        encoded.arranged,
        keep=torch.arange(tokens.shape[1]),
        layout=replace(encoded.arranged.layout, streams=full),
    )
    assert far(run(dit, replace(encoded, arranged=everything)), run(dit, encoded))


def test_the_tokens_kept_are_those_of_the_prepared_masks(dit, vae):
    references = three()
    encoded = plain.encode_references(dit, vae, references, saber(), GRID)
    expected, before = [], 0
    for given in references:
        mask = prepare(given, saber(), SIDE, SIDE, 16).mask
        expected += [
            before + 4 * row + column
            for row in range(4)
            for column in range(4)
            if (mask[16 * row : 16 * row + 16, 16 * column : 16 * column + 16] > 0.5).any()
        ]
        before += 16
    assert encoded.arranged.keep.tolist() == expected
    assert encoded.arranged.keep.dtype == torch.int64


def test_what_lies_under_a_removed_token_changes_nothing(dit, vae):
    encoded = plain.encode_references(dit, vae, three(), saber(), GRID)
    tokens = torch.zeros(48, dtype=torch.bool).index_fill(0, encoded.arranged.keep, True)
    cells = tokens.view(3, 4, 4).repeat_interleave(2, 1).repeat_interleave(2, 2)
    loud = tuple(torch.where(keep, given, 1e3) for keep, given in zip(cells, encoded.inputs, strict=True))
    assert torch.equal(run(dit, replace(encoded, inputs=loud)), run(dit, encoded))


def test_a_strength_of_three_counts_every_token_of_its_reference_three_times(dit, vae):
    encoded = plain.encode_references(dit, vae, three(1.0, 3.0, 1.0), saber(), GRID)
    tokens, angles = whole_tail(dit, encoded)
    times = torch.ones(48, dtype=torch.long)
    times[16:32] = 3
    index = encoded.arranged.keep.repeat_interleave(times[encoded.arranged.keep])
    torch.testing.assert_close(
        run(dit, encoded), with_tail(dit, Tail(tokens[:, index], angles[:, index])), **CLOSE
    )


def test_strength_scales_continuously_from_removal_to_untouched(dit, vae):
    def at(strength):
        return run(dit, plain.encode_references(dit, vae, three(1.0, strength, 1.0), saber(), GRID))

    one_less = plain.encode_references(dit, vae, three(1.0, 0.0, 1.0), saber(), GRID)
    assert len(one_less.inputs) == 2
    tokens, angles = whole_tail(dit, plain.encode_references(dit, vae, three(), saber(), GRID))
    # The third keeps frame F + 2 beside a vanishing second, and takes F + 1 where the second is dropped.
    kept = plain.encode_references(dit, vae, three(), saber(), GRID).arranged.keep
    kept = kept[(kept < 16) | (kept >= 32)]
    torch.testing.assert_close(at(1e-9), with_tail(dit, Tail(tokens[:, kept], angles[:, kept])), **CLOSE)
    assert far(at(0.5), at(1.0)) and far(at(0.5), at(1e-9))


def test_strength_one_everywhere_asks_for_no_bias(dit, vae):
    neutral = plain.encode_references(dit, vae, three(), saber(), GRID)
    assert plain.tail(dit, neutral, EMPTY).key_bias is None
    assert (
        plain.tail(dit, plain.encode_references(dit, vae, three(1, 1, 2), saber(), GRID), EMPTY).key_bias
        is not None
    )


# ---- placement, order, absence


def test_references_stand_right_behind_the_video(dit, vae):
    encoded = plain.encode_references(
        dit, vae, [reference(1, masked=False, rows=64, columns=64)], saber(), GRID
    )
    got = plain.tail(dit, encoded, EMPTY).angles
    longer = rope_angles(grid_positions(FRAMES + 1, 4, 4), WAN_2_1.split(dit.head_size))
    assert torch.equal(got[0], longer[-16:])


def test_a_reference_alone_does_not_depend_on_a_dropped_neighbour(dit, vae):
    alone = plain.encode_references(dit, vae, [reference(2)], saber(), GRID)
    beside = plain.encode_references(dit, vae, [reference(1, 0.0), reference(2)], saber(), GRID)
    assert alone.arranged.layout == beside.arranged.layout
    assert torch.equal(run(dit, alone), run(dit, beside))


@pytest.mark.parametrize("references", [[], [reference(1, 0.0), reference(2, 0.0)]], ids=["none", "all off"])
def test_no_acting_reference_is_the_model_untouched_bit_for_bit(dit, vae, references):
    encoded = plain.encode_references(dit, vae, references, saber(), GRID)
    assert encoded is None
    assert torch.equal(run(dit, encoded), with_tail(dit, None))


def test_a_pass_without_references_sees_none_and_reads_its_own_text(dit, vae):
    encoded = plain.encode_references(dit, vae, three(), saber(), GRID)
    assert torch.equal(run(dit, encoded, Pass("positive", False)), run(dit, None))
    assert torch.equal(run(dit, encoded, NULL), run(dit, None, Pass("negative", True)))
    assert far(run(dit, encoded), run(dit, None))
    assert far(run(dit, None, NULL), run(dit, None))


def test_rows_of_a_batch_share_the_references(dit, vae):
    encoded = plain.encode_references(dit, vae, three(1.0, 2.0, 1.0), saber(), GRID)
    both = plain.velocity(dit, latent().repeat(2, 1, 1, 1, 1), SIGMA, condition(encoded), CONDITIONED)
    for row in both:
        torch.testing.assert_close(row[None], run(dit, encoded), **CLOSE)


def test_equal_levels_per_frame_are_one_level(dit, vae):
    encoded = plain.encode_references(dit, vae, three(), saber(), GRID)
    torch.testing.assert_close(run(dit, encoded, sigma=SIGMA.expand(1, FRAMES)), run(dit, encoded), **CLOSE)


# ---- guidance, a whole run, sizes


def test_guided_velocity_weighs_its_passes_anew_at_every_level(dit, vae):
    """Image scale 1.5 always, text scale 4 in the schedule's first half; SIGMA lies in it at shift 1."""
    given = condition(plain.encode_references(dit, vae, three(), saber(), GRID))
    early = Guidance(Scale(1.5), Scale(4.0, StepWindow(0, 0.5)))
    for level in (SIGMA, 1 - SIGMA):
        cond, middle, null = (
            plain.velocity(dit, latent(), level, given, entry) for entry in (CONDITIONED, MIDDLE, NULL)
        )
        text = 4.0 if 1 - float(level) < 0.5 else 1.0
        wanted = null + 1.5 * (middle - null) + text * (cond - middle)
        got = plain.guided_velocity(dit, given, early)(latent(), level)
        torch.testing.assert_close(got, wanted, **CLOSE)
    assert torch.equal(
        plain.guided_velocity(dit, given, joint(Scale(1)))(latent(), SIGMA),
        plain.velocity(dit, latent(), SIGMA, given, CONDITIONED),
    )


@pytest.mark.parametrize(("renorm", "over"), [("clip", (1, 2, 3, 4)), ("frames", (1, 3, 4))])
def test_renormed_guidance_keeps_its_direction_and_takes_the_conditioned_norm(dit, vae, renorm, over):
    given = condition(plain.encode_references(dit, vae, three(), saber(), GRID))
    cond = plain.velocity(dit, latent(), SIGMA, given, CONDITIONED)
    free = plain.guided_velocity(dit, given, joint(Scale(7.0)))(latent(), SIGMA)
    got = plain.guided_velocity(dit, given, Guidance(Scale(7.0), Scale(7.0), renorm))(latent(), SIGMA)
    torch.testing.assert_close(got.square().sum(over), cond.square().sum(over), rtol=1e-4, atol=0)
    ratio = got / free
    torch.testing.assert_close(ratio, ratio.mean(over, keepdim=True).expand_as(ratio), rtol=1e-3, atol=1e-3)
    alone = plain.guided_velocity(dit, given, Guidance(Scale(1), Scale(1), renorm))(latent(), SIGMA)
    assert torch.equal(alone, cond)


def test_one_step_of_a_run_is_the_noise_less_its_velocity_decoded_and_clamped(dit, vae):
    given = condition(plain.encode_references(dit, vae, three(), saber(), GRID))
    sigmas = torch.tensor([1.0, 0.0])
    got = plain.run_steps(dit, vae, given, joint(Scale(1)), latent(), sigmas)
    moved = latent() - plain.velocity(dit, latent(), sigmas[0], given, CONDITIONED)
    assert got.shape == (1, 3, 4 * (FRAMES - 1) + 1, SIDE, SIDE)
    torch.testing.assert_close(got, vae.decode(moved).clamp(-1, 1), **CLOSE)


def test_a_masked_input_backbone_gets_a_grey_video_of_unknown_mask(vae):
    padding = plain.grey_padding(vae, 5, SIDE, SIDE)
    grey = vae.encode(torch.zeros(1, 3, 5, SIDE, SIDE))
    assert padding[:, :4].eq(0).all()
    torch.testing.assert_close(padding[:, 4:], grey, **CLOSE)
    dit = made(tiny.config(in_channels=36))
    encoded = plain.encode_references(dit, vae, three(), saber(), GRID)
    got = plain.velocity(dit, latent(), SIGMA, condition(encoded, padding), CONDITIONED)
    tail = plain.tail(dit, encoded, EMPTY)
    text = condition().texts["positive"].states
    expected = dit(torch.cat([latent(), padding], 1), SIGMA.expand(1) * 1000, text, tail=tail)
    assert torch.equal(got, expected)


def test_recipes_that_cannot_feed_a_backbone_are_refused(vae):
    with pytest.raises(ValueError, match="recipe phantom cannot feed a backbone of 36 input channels"):
        plain.encode_references(
            made(tiny.config(in_channels=36)), vae, three(), recipe_named("phantom"), GRID
        )


@pytest.mark.parametrize(("size", "expected"), [((1, 16, 32), (1, 2, 4)), ((81, 480, 832), (21, 60, 104))])
def test_a_latent_has_a_frame_and_a_quarter_of_the_rest_and_an_eighth_of_each_side(size, expected):
    assert WAN_2_1.latent(*size) == expected


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ((0, 64, 64), r"frames is 0; the model makes 4k \+ 1: 1, 5, 9, … \(1 is nearest\)"),
        ((-3, 64, 64), r"frames is -3; .* \(1 is nearest\)"),
        ((80, 64, 64), r"frames is 80; .* \(81 is nearest\)"),
        ((82, 64, 64), r"frames is 82; .* \(81 is nearest\)"),
        ((9, 8, 64), "height is 8; needed a multiple of 16 pixels, 16 or more"),
        ((9, 64, 40), "width is 40; needed a multiple of 16 pixels"),
        ((9, 64, 0), "width is 0; needed a multiple of 16 pixels"),
    ],
)
def test_other_sizes_are_refused_with_the_rule(size, message):
    with pytest.raises(ValueError, match=message):
        WAN_2_1.latent(*size)


def test_a_layout_of_one_stream_keeps_what_the_mask_keeps(dit, vae):
    whole = reference(1, 2.0, masked=False, rows=64, columns=64)
    encoded = plain.encode_references(dit, vae, [whole], saber(), GRID)
    assert encoded.arranged.layout == Layout(saber(), (Stream(4, 4, 16, Controls(2.0)),), WAN_2_1)
    torch.testing.assert_close(
        encoded.inputs[0], vae.encode(whole.picture.movedim(-1, 0)[None, :, None] * 2 - 1), **CLOSE
    )
