"""Another backbone on the plain host, by its own geometry alone: nothing of Wan's is left in what a run
does."""

import pytest
import torch
from refvid_foreign import FOREIGN, TEXT, ForeignBackbone, ForeignVAE
from refvid_riders import (
    PeopleRider,
    Person,
    ReferencesRider,
    SourceRider,
    condition,
    encode_frames,
    encode_references,
    run_steps,
    tail,
    velocity,
)
from torch import Tensor

from refvid.core.controls import Controls, FrameWindow
from refvid.core.editing import Windows
from refvid.core.frames import Placed
from refvid.core.guidance import CONDITIONED, Guidance, Scale
from refvid.core.recipes import in_context, saber
from refvid.core.references import make_reference
from refvid.kernels.eager import masked_attention

PICTURES, HEIGHT, WIDTH = 7, 16, 24
GRID = FOREIGN.latent(PICTURES, HEIGHT, WIDTH)
SIGMA = torch.tensor(0.6).double()


@pytest.fixture(scope="module")
def dit() -> ForeignBackbone:
    torch.manual_seed(0)
    return ForeignBackbone()


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).double()


def texts() -> dict[str, Tensor]:
    return {"positive": drawn(1, 4, TEXT, seed=1), "negative": drawn(1, 3, TEXT, seed=2)}


def latent(seed: int = 6, frames: int = GRID[0]) -> Tensor:
    return drawn(1, FOREIGN.channels, frames, *GRID[1:], seed=seed)


def shown(controls: Controls, region: Tensor | None = None):
    mask = torch.zeros(HEIGHT, WIDTH)
    mask[:9, 3:20] = 1
    generator = torch.Generator().manual_seed(3)
    return make_reference(torch.rand(HEIGHT, WIDTH, 3, generator=generator), mask, controls, region)


def encoded(dit, *references) -> ReferencesRider:
    made = encode_references(dit, ForeignVAE(), list(references), saber(), GRID)
    assert made is not None
    return made


def test_its_grid_is_its_own():
    assert GRID == (3, 4, 6) and FOREIGN.split(16) == (4, 6, 6)
    assert FOREIGN.count(*GRID) == 72 and FOREIGN.token == 4 and FOREIGN.pictures(3) == PICTURES


def test_a_reference_s_tokens_are_the_cells_that_its_mask_touches_a_frame_behind_the_video(dit):
    made = encoded(dit, shown(Controls(0.5)))
    kept = [6 * row + column for row in range(3) for column in range(5)]
    assert made.arranged.keep.tolist() == kept
    behind = tail(dit, made, latent())
    assert behind is not None
    torch.testing.assert_close(behind.tokens, dit.embed_patches(made.inputs[0])[:, kept])
    size = FOREIGN.split(dit.head_size)
    for place, token in enumerate(kept):
        where = (3.0, float(token // 6), float(token % 6))
        wanted = [
            w * 10000 ** (-2 * k / part)
            for w, part in zip(where, size, strict=True)
            for k in range(part // 2)
        ]
        torch.testing.assert_close(behind.angles[0, place], torch.tensor(wanted).double())


def test_a_region_and_a_frame_window_hide_it_by_its_own_cells_and_groups(dit):
    """Against one table: a video token sees the reference on the left half, in pictures 4 to 6, the last
    latent frame."""
    region = torch.zeros(HEIGHT, WIDTH)
    region[:, : WIDTH // 2] = 1
    made = encoded(dit, shown(Controls(0.5, frames=FrameWindow(4, 6)), region))
    got = velocity(dit, latent(), SIGMA, condition(texts(), made), CONDITIONED)
    behind = tail(dit, encoded(dit, shown(Controls())), latent())
    assert behind is not None
    count = behind.tokens.shape[1]
    sees = torch.ones(72 + count, 72 + count, dtype=torch.bool)
    for token in range(72):
        frame, column = token // 24, token % 6
        sees[token, 72:] = frame == 2 and column < 3
    bias = torch.full((1, count), 0.5).log().double()

    def attend(query: Tensor, key: Tensor, value: Tensor, weights: Tensor | None) -> Tensor:
        return masked_attention(query, key, value, sees[None], weights)

    whole = type(behind)(behind.tokens, behind.angles, bias, attend)
    wanted, _ = dit.through(latent(), 100 * SIGMA[None], texts()["positive"], tail=whole)
    torch.testing.assert_close(got, wanted)
    free = velocity(dit, latent(), SIGMA, condition(texts(), encoded(dit, shown(Controls(0.5)))), CONDITIONED)
    assert (got - free).abs().max() > 1e-4


def test_identities_are_read_in_its_own_cells(dit):
    tokens, nobody = drawn(3, dit.width, seed=8), drawn(2, dit.width, seed=9)
    cells = torch.zeros(GRID, dtype=torch.int64)
    cells[1, 2, 4] = 1
    bound = velocity(
        dit,
        latent(),
        SIGMA,
        condition(texts(), people=PeopleRider((Person(tokens),), nobody, cells)),
        CONDITIONED,
    )
    every = velocity(
        dit, latent(), SIGMA, condition(texts(), people=PeopleRider((Person(tokens),), nobody)), CONDITIONED
    )
    none = velocity(dit, latent(), SIGMA, condition(texts()), CONDITIONED)
    there = torch.zeros(GRID, dtype=torch.bool)
    there[1, 2, 4] = True
    torch.testing.assert_close(bound[:, :, there], every[:, :, there])
    torch.testing.assert_close(bound[:, :, ~there], none[:, :, ~there])
    assert (every - none).abs().max() > 1e-4


def test_given_frames_stand_on_its_own_latent_frames(dit):
    picture = torch.rand(1, HEIGHT, WIDTH, 3, generator=torch.Generator().manual_seed(4))
    frames = encode_frames(ForeignVAE(), Placed(picture, [5]), torch.zeros(1, 6, *GRID).double())
    assert frames.given.replaced.tolist() == [False, False, True], "pictures 4 to 6"
    asked = condition(texts(), encoded(dit, shown(Controls())), frames=frames)
    film = run_steps(
        dit, ForeignVAE(), asked, Guidance(Scale(2.0), Scale(3.0)), latent(), torch.tensor([1.0, 0.7, 0.0])
    )
    assert film.shape == (1, 3, PICTURES, HEIGHT, WIDTH)
    held = ForeignVAE().decode(frames.given.latent.expand(1, -1, -1, -1, -1))[:, :, 4:7].float().clamp(-1, 1)
    torch.testing.assert_close(film[:, :, 4:7], held, rtol=0, atol=1e-5)


def test_a_longer_edit_goes_in_windows_of_its_own_groups(dit):
    """Four latent frames in windows of three that share one, by hand."""
    source = SourceRider(latent(7, 4), in_context())
    asked = condition(texts(), source=source, windows=Windows(FOREIGN.group, 7, 3))
    state = latent(6, 4)
    got = velocity(dit, state, SIGMA, asked, CONDITIONED)
    total, count = torch.zeros_like(state), torch.zeros(4, 1, 1).double()
    for start, stop in ((0, 3), (1, 4)):
        first = max(0, start - 1)
        part = condition(texts(), source=SourceRider(source.latent[:, :, first:stop], in_context()))
        out = velocity(dit, state[:, :, first:stop], SIGMA, part, CONDITIONED)[:, :, start - first :]
        for frame, weight in zip(range(start, stop), (1.0, 2.0, 1.0), strict=True):
            total[:, :, frame] += weight * out[:, :, frame - start]
            count[frame] += weight
    torch.testing.assert_close(got, total / count)
