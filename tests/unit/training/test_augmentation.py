"""References made of a clip: one matrix moves picture and mask, inside the frame, as far as published."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Generator, Tensor

from refvid.core.recipe import GREY
from refvid.training.masks.generator import MaskGenerator
from refvid.training.masks.references import Augmentation, MaskedFrames, boxes, masked_frames

GROUND = torch.tensor(2 * GREY - 1)
HEIGHT, WIDTH = 60, 76
STILL = Augmentation(rotation=0, scale=(1, 1), shear=0, flip=0, translate=False)


def seeded(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def marked(n: int, box=(22, 40, 26, 36)) -> tuple[Tensor, Tensor]:
    """Pictures whose red and green are a pixel's place, right and down, in half-frames, and a rectangle as
    mask."""
    right, down = torch.linspace(-1, 1, WIDTH).expand(HEIGHT, WIDTH), torch.linspace(-1, 1, HEIGHT)[:, None]
    picture = torch.stack([right, down.expand(HEIGHT, WIDTH), torch.full((HEIGHT, WIDTH), 0.75)])
    mask = torch.zeros(1, HEIGHT, WIDTH)
    mask[:, box[0] : box[1], box[2] : box[3]] = 1
    return picture.repeat(n, 1, 1, 1), mask.repeat(n, 1, 1, 1)


def corners(box: Tensor) -> Tensor:
    """Boxes (n, 2, 2) -> their corners (n, 4, 3), right, down, 1."""
    (left, right), (top, bottom) = box[:, 0].T, box[:, 1].T
    places = [torch.stack([x, y, torch.ones_like(x)], 1) for x in (left, right) for y in (top, bottom)]
    return torch.stack(places, 1)


def parts(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Whether mirrored, and the scale up to what shear adds (|det| = scale² · (1 − tan · tan))."""
    determinant = matrix[:, :, :2].det()
    return determinant < 0, determinant.abs().sqrt()


# ---- one matrix


@settings(max_examples=15)
@given(
    st.integers(0, 999), st.sampled_from([(22, 40, 26, 36), (0, 60, 0, 76), (0, 9, 0, 60), (57, 60, 70, 76)])
)
def test_the_moved_mask_reaches_as_far_as_the_matrix_moves_its_box_and_never_out_of_the_frame(seed, box):
    picture, mask = marked(12, box)
    augmentation = Augmentation()
    matrix = augmentation.matrices(mask, seeded(seed))
    _, seen = augmentation(picture, mask, seeded(seed))
    places = corners(boxes(mask)) @ matrix.mT
    expected = torch.stack([places.amin(1), places.amax(1)], 2)
    assert (expected[:, :, 0] >= -0.501).all()
    assert (expected[:, :, 1] <= torch.tensor([WIDTH, HEIGHT]) - 0.499).all()
    # A pixel belongs where its middle does; slim corners between middles are lost, at 20° up to a pixel.
    assert (boxes(seen) - expected).abs().max() <= 1.5


def test_the_box_of_a_mask_is_that_of_its_pixels():
    mask = torch.zeros(2, 1, 5, 7)
    mask[0, 0, 1, 2] = mask[0, 0, 3, 6] = mask[1, 0, 0, 0] = 1
    assert boxes(mask).tolist() == [[[1.5, 6.5], [0.5, 3.5]], [[-0.5, 0.5], [-0.5, 0.5]]]


@settings(max_examples=8)
@given(st.integers(0, 999))
def test_picture_and_mask_follow_the_matrix_and_the_rest_is_ground(seed):
    video, alpha = (part.unsqueeze(2) for part in marked(8))
    pictures, masks = masked_frames(video, alpha, seeded(seed), MaskedFrames(subject_share=1.0))
    half = torch.tensor([(WIDTH - 1) / 2, (HEIGHT - 1) / 2]).double()
    grid = torch.stack(torch.meshgrid(torch.arange(WIDTH), torch.arange(HEIGHT), indexing="xy"), -1).double()
    for picture, mask in zip(pictures, masks[:, 0] > 0.5, strict=True):
        assert picture[:, ~mask].eq(GROUND).all()
        assert (picture[2, mask] - 0.75).abs().max() < 1e-5
        place = torch.cat([grid, torch.ones(HEIGHT, WIDTH, 1)], -1)
        source = (picture[:2, mask].T.double() + 1) * half
        fit = torch.linalg.lstsq(place[mask], source).solution
        assert (
            place[mask] @ fit - source
        ).abs().max() < 5e-3  # pixels: the colours are an affine map of the place
        # Every pixel of the output that comes from inside the rectangle, and none else, is in the mask.
        deep = ((place @ fit - torch.tensor([30.5, 30.5])).abs() - torch.tensor([5.0, 9.0])).amax(-1)
        assert mask[deep < -0.05].all() and not mask[deep > 0.05].any()


# ---- how far


def test_flips_turns_shears_and_scales_use_their_whole_range():
    mask = marked(2000, (28, 32, 36, 40))[1]
    only = {"rotation": 0, "scale": (1, 1), "shear": 0, "flip": 0}

    def linear(**given) -> Tensor:
        return Augmentation(**{**only, **given}).matrices(mask, seeded())[:, :, :2]

    flipped = linear(flip=0.5)[:, 0, 0]
    assert set(flipped.tolist()) == {-1.0, 1.0}
    assert (flipped < 0).float().mean().item() == pytest.approx(
        0.5, abs=0.045
    )  # four deviations of 2000 throws
    scaled = linear(scale=(0.8, 2.0))
    torch.testing.assert_close(scaled[:, 0, 0], scaled[:, 1, 1])
    evenly(scaled[:, 0, 0], 0.8, 2.0)
    turned = linear(rotation=10)
    torch.testing.assert_close(turned @ turned.mT, torch.eye(2).expand(2000, 2, 2), rtol=0, atol=1e-5)
    evenly(torch.atan2(turned[:, 0, 1], turned[:, 0, 0]).rad2deg(), -10, 10)
    sheared = linear(shear=10)
    for x, y in ((0, 1), (1, 0)):
        evenly(sheared[:, x, y].atan().rad2deg(), -10, 10)
    both = torch.stack([sheared[:, 0, 1], sheared[:, 1, 0]])
    assert both.corrcoef()[0, 1].abs() < 0.09  # independent


def evenly(values: Tensor, low: float, high: float) -> None:
    """Values of the uniform law on [low, high]: never outside, its deciles within five deviations (2000
    draws)."""
    share = (values - low) / (high - low)
    assert share.min() >= -1e-4 and share.max() <= 1 + 1e-4
    deciles = torch.linspace(0.1, 0.9, 9)
    torch.testing.assert_close(share.quantile(deciles), deciles, rtol=0, atol=0.056)


def test_the_box_lands_evenly_everywhere_it_fits():
    mask = marked(2000, (3, 13, 40, 60))[1]
    shift = replace(STILL, translate=True).matrices(mask, seeded())[:, :, 2]
    evenly(shift[:, 0], -40, 16)
    evenly(shift[:, 1], -3, 47)


def test_without_translation_the_middle_of_the_frame_stays():
    mask = marked(64, (25, 35, 30, 50))[1]
    matrix = Augmentation(translate=False).matrices(mask, seeded())
    middle = torch.tensor([(WIDTH - 1) / 2, (HEIGHT - 1) / 2, 1.0])
    torch.testing.assert_close(matrix @ middle, middle[:2].expand(64, 2), rtol=0, atol=1e-4)
    assert matrix[:, :, :2].std(0).min() > 0.01


def test_without_translation_too_the_box_stays_inside_the_frame():
    mask = marked(200, (1, 20, 2, 30))[1]  # near a corner: few turns and scales about the middle fit
    places = corners(boxes(mask)) @ Augmentation(translate=False).matrices(mask, seeded()).mT
    assert places.amin() >= -0.501
    assert (places.amax((0, 1)) <= torch.tensor([WIDTH, HEIGHT]) - 0.499).all()


def test_a_full_mask_is_scaled_by_what_fits_and_never_left_alone():
    mask = marked(1000, (0, HEIGHT, 0, WIDTH))[1]
    matrix = Augmentation().matrices(mask, seeded())
    _, scale = parts(matrix)
    assert scale.max() <= 1.02 and scale.min() < 0.82
    assert matrix.eq(torch.eye(2, 3)).all(2).all(1).sum() == 0
    # Turned and sheared less than a small one, but turned.
    assert matrix[:, 0, 1].std() > 0.02


def test_where_nothing_fits_the_reference_stays_as_it_is():
    picture, mask = marked(3, (2, 58, 2, 74))
    moved, seen = Augmentation(scale=(3.0, 4.0))(picture, mask, seeded())
    assert torch.equal(moved, picture) and torch.equal(seen, mask)


# ---- off


def test_no_augmentation_and_a_neutral_one_leave_every_bit():
    video, alpha = torch.rand(5, 3, 1, 31, 44, generator=seeded()) * 2 - 1, torch.ones(5, 1, 1, 31, 44)
    alpha[..., :9] = 0.5
    expected = torch.where(alpha > 0.5, video, GROUND)[:, :, 0]
    for augmentation in (None, STILL):
        how = MaskedFrames(subject_share=1.0, augmentation=augmentation)
        pictures, masks = masked_frames(video, alpha, seeded(), how)
        assert torch.equal(pictures, expected)
        assert torch.equal(masks, (alpha > 0.5).float()[:, :, 0])


# ---- the reference of a clip


def test_a_reference_is_a_frame_of_its_own_clip():
    level = torch.linspace(-0.9, 0.9, 30).view(
        6, 1, 5, 1, 1
    )  # every frame of every clip in a grey of its own
    video = level.expand(6, 3, 5, HEIGHT, WIDTH)
    alpha = marked(6)[1].unsqueeze(2).expand(6, 1, 5, HEIGHT, WIDTH)
    seen = set()
    for seed in range(8):
        pictures, masks = masked_frames(video, alpha, seeded(seed))
        for clip, (picture, mask) in enumerate(zip(pictures, masks[:, 0] > 0.5, strict=True)):
            distance = (level[clip, 0, :, 0, 0] - picture[:, mask].mean()).abs()
            assert (picture[:, mask] - level[clip, 0, distance.argmin(), 0, 0]).abs().max() < 1e-4
            seen.add(distance.argmin().item())
    assert len(seen) == 5


@pytest.mark.parametrize("share", [0.0, 0.75, 1.0])
def test_the_mask_is_the_subject_as_often_as_asked(share):
    video, alpha = torch.zeros(400, 3, 2, HEIGHT, WIDTH), marked(400)[1].unsqueeze(2).repeat(1, 1, 2, 1, 1)
    how = MaskedFrames(subject_share=share, augmentation=None)
    _, masks = masked_frames(video, alpha, seeded(), how)
    own = (masks == alpha[:, :, 0]).flatten(1).all(1).float().mean().item()
    assert own == pytest.approx(share, abs=0 if share in (0, 1) else 0.087)  # four deviations of 400


def test_a_subject_out_of_sight_gives_way_to_a_random_mask():
    video, alpha = torch.zeros(6, 3, 3, HEIGHT, WIDTH), torch.full((6, 1, 3, HEIGHT, WIDTH), 0.5)
    how = MaskedFrames(MaskGenerator(("ellipse",), ((1.0, (0.2, 0.3)),)), 1.0, None)
    share = masked_frames(video, alpha, seeded(), how)[1].mean((1, 2, 3))
    assert (share >= 0.2).all() and (share <= 0.3).all()


def test_a_mask_of_one_pixel_is_never_lost():
    video, alpha = torch.zeros(300, 3, 1, 16, 16), torch.zeros(300, 1, 1, 16, 16)
    alpha[..., 3, 5] = 1
    how = MaskedFrames(subject_share=1.0, augmentation=Augmentation(scale=(0.3, 0.4)))
    masks = masked_frames(video, alpha, seeded(), how)[1]
    assert masks.amax((1, 2, 3)).eq(1).all()
    stayed = masks[:, 0, 3, 5].eq(1).float().mean()
    assert 0.5 < stayed < 1  # a tenth of a pixel is mostly between the middles of pixels: then it stays


def test_a_seed_decides_the_references():
    video, alpha = torch.rand(6, 3, 4, 32, 32, generator=seeded()), torch.ones(6, 1, 4, 32, 32)
    one, same, other = (torch.cat(masked_frames(video, alpha, seeded(seed)), 1) for seed in (1, 1, 2))
    assert torch.equal(one, same) and not torch.equal(one, other)


# ---- refusals


@pytest.mark.parametrize(
    ("made", "named"),
    [
        ({"rotation": -1}, "rotation is -1"),
        ({"scale": (2.0, 0.8)}, "scale is"),
        ({"scale": (0.0, 1.0)}, "scale is"),
        ({"shear": 45}, "shear is 45"),
        ({"flip": 1.1}, "flip is 1.1"),
    ],
)
def test_an_augmentation_that_cannot_be_is_refused_by_name(made, named):
    with pytest.raises(ValueError, match=named):
        Augmentation(**made)


def test_shares_and_alphas_that_cannot_be_are_refused_by_name():
    with pytest.raises(ValueError, match="subject_share is 2"):
        MaskedFrames(subject_share=2)
    with pytest.raises(ValueError, match=r"alpha is \(2, 2, 4, 8, 8\)"):
        masked_frames(torch.zeros(2, 3, 4, 8, 8), torch.zeros(2, 2, 4, 8, 8), seeded())
