"""Loss of Saber on clips, against float64 by hand, the base's own loss, and how the plain host generates."""

from dataclasses import replace

import pytest
import torch
from refvid_saber import SIZES, mean_latents, small_dit, small_models
from torch import Generator, Tensor

from refvid.backbones.wan.loading import load_vae
from refvid.backbones.wan.text import load_text_encoder
from refvid.core.guidance import CONDITIONED
from refvid.core.masks import token_mask
from refvid.core.recipes import saber
from refvid.core.references import make_reference
from refvid.hosts.plain.evaluation import Text
from refvid.hosts.plain.references import encode_pictures, encode_references, kept_references_in_rows
from refvid.hosts.plain.sampling import Condition, velocity
from refvid.training.base.dit.batch import MaskedBatch
from refvid.training.base.dit.losses import masked_reference_loss
from refvid.training.methods.saber.batch import ClipBatch, ClipRow, batch_from_rows
from refvid.training.methods.saber.losses import row_losses, saber_losses

DIT = small_dit()
GEOMETRY = SIZES.geometry
SIDE, CELLS = 48, 6


def a_row(number: int, boxes: list[tuple[int, int, int, int]]) -> ClipRow:
    """Row of random numbers, with references of which boxes (top, bottom, left, right) are kept."""
    draws = Generator().manual_seed(number)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=draws)

    masks = torch.zeros(len(boxes), SIDE, SIDE)
    for mask, (top, bottom, left, right) in zip(masks, boxes, strict=True):
        mask[top:bottom, left:right] = 1
    latent, noise = normal(16, 2, CELLS, CELLS), normal(16, 2, CELLS, CELLS)
    sigma, words = torch.rand((), generator=draws), normal(3 + number, 32)
    return ClipRow(f"{number}.mp4", latent, noise, sigma, normal(len(boxes), 3, SIDE, SIDE), masks, words)


# Of a token's side: 16 pixels. Rows keep other tokens, and other numbers of references.
ROWS = [a_row(0, [(0, 16, 0, 48), (20, 30, 20, 30)]), a_row(1, []), a_row(2, [(32, 48, 0, 20)])]


def losses_of(rows: list[ClipRow], dit=DIT) -> Tensor:
    with torch.no_grad():
        return row_losses(dit, batch_from_rows(rows, mean_latents))


def test_each_row_has_the_loss_that_it_has_alone():
    together = losses_of(ROWS)
    alone = torch.cat([losses_of([row]) for row in ROWS])
    assert (together - alone).abs().max() < 1e-5
    assert together.std() > 0.01


def test_the_loss_is_the_error_of_the_velocity_by_hand_in_double_with_the_kept_tokens_alone():
    wanted = []
    with torch.no_grad():
        for row in ROWS:
            noisy = (1 - row.sigma) * row.latent + row.sigma * row.noise
            text = Text(torch.nn.functional.pad(row.words, (0, 0, 0, 512 - len(row.words)))[None])
            riders = []
            if len(row.pictures):
                latents = mean_latents(row.pictures).movedim(0, 1)[None]
                found = kept_references_in_rows(latents, row.masks[None], saber(), GEOMETRY)
                assert found is not None and found.seen is None
                riders.append(found)
            predicted = velocity(
                DIT,
                noisy[None],
                row.sigma[None],
                Condition({CONDITIONED.text: text}, tuple(riders)),
                CONDITIONED,
            )
            error = predicted[0].double() - (row.noise.double() - row.latent.double())
            wanted.append(error.square().sum() / error.numel())
    assert (losses_of(ROWS).double() - torch.stack(wanted)).abs().max() < 1e-5


def test_losses_name_their_clips_levels_and_rows():
    with torch.no_grad():
        found = saber_losses(DIT, batch_from_rows(ROWS, mean_latents))
    assert found.clips == ("0.mp4", "1.mp4", "2.mp4")
    assert found.levels is not None and found.each is not None
    assert torch.equal(found.levels, torch.stack([row.sigma for row in ROWS]))
    assert torch.equal(found.total(), found.each.mean())


def test_removed_tokens_and_references_that_are_masked_out_change_nothing():
    before = losses_of(ROWS)
    batch = batch_from_rows(ROWS, mean_latents)
    seen = torch.stack([torch.stack([token_mask(mask, 16) for mask in row]) for row in batch.masks])
    cells = seen.view(3, 2, 3, 3).repeat_interleave(2, 2).repeat_interleave(2, 3)[:, None]
    other = torch.where(cells, batch.reference, torch.full_like(batch.reference, 3.0))
    with torch.no_grad():
        assert (row_losses(DIT, replace(batch, reference=other)) - before).abs().max() < 1e-6
        moved = row_losses(DIT, replace(batch, reference=torch.where(cells, other + 1, other)))
    assert moved[1] == before[1] and ((moved - before)[[0, 2]].abs() > 1e-4).all()


def test_a_reference_that_is_dropped_is_no_reference():
    empty = replace(ROWS[0], masks=torch.zeros_like(ROWS[0].masks))
    none = replace(ROWS[0], pictures=ROWS[0].pictures[:0], masks=ROWS[0].masks[:0])
    assert torch.equal(losses_of([empty]), losses_of([none]))
    assert (losses_of([ROWS[0]]) - losses_of([none])).abs() > 1e-4


def test_the_loss_is_the_bases_own_on_the_same_references():
    encoder = load_text_encoder(small_models().text_encoder)
    tokens = encoder.tokenize(["a red circle", "", "a blue square and a green star"])
    with torch.no_grad():
        words = [encoder.states(row[row != 0][None])[0] for row in tokens]
        rows = [replace(row, words=one) for row, one in zip(ROWS, words, strict=True)]
        batch = batch_from_rows(rows, mean_latents)
        keep = torch.stack([torch.cat([token_mask(mask, 16) for mask in row]) for row in batch.masks])
        nothing = torch.zeros(3, 2, dtype=torch.bool)
        theirs = MaskedBatch(
            latent=batch.latent, noise=batch.noise, sigma=batch.sigma, given=batch.latent, replaced=nothing,
            reference=batch.reference, keep=keep, tokens=tokens, weight=torch.ones(3, 1, 2, CELLS, CELLS),
        )  # fmt: skip
        wanted = masked_reference_loss(DIT, encoder, "saber")(theirs)
        found = saber_losses(DIT, batch).total()
    assert found.item() == pytest.approx(wanted.item(), abs=1e-5)


def test_references_reach_the_model_as_those_of_a_generation_do():
    vae = load_vae(small_models().vae)
    pictures = torch.rand(2, SIDE, SIDE, 3, generator=Generator().manual_seed(7))
    masks = ROWS[0].masks
    given = [make_reference(picture, mask) for picture, mask in zip(pictures, masks, strict=True)]
    generated = encode_references(DIT, vae, given, saber(), (2, CELLS, CELLS))
    shown = torch.where(masks[..., None] > 0.5, pictures, torch.full_like(pictures, 0.5))
    latents = torch.cat([encode_pictures(vae, picture[None]) for picture in shown], 2)
    trained = kept_references_in_rows(latents, masks[None], saber(), GEOMETRY)
    assert generated is not None and trained is not None
    assert torch.equal(generated.arranged.keep, trained.arranged.keep)
    assert generated.arranged.layout.streams == trained.arranged.layout.streams
    sigma, text = torch.tensor([0.7]), Text(torch.randn(1, 5, 32, generator=Generator().manual_seed(1)))
    with torch.no_grad():
        one, other = (
            velocity(
                DIT, ROWS[0].latent[None], sigma, Condition({CONDITIONED.text: text}, (rider,)), CONDITIONED
            )
            for rider in (generated, trained)
        )
    assert (one - other).abs().max() < 1e-3 and one.std() > 0.1  # random weights enlarge what rounding does


def test_references_that_no_row_keeps_are_not_computed():
    batch: ClipBatch = batch_from_rows(ROWS, mean_latents)
    rider = kept_references_in_rows(batch.reference, batch.masks, saber(), GEOMETRY)
    assert rider is not None and rider.seen is not None
    # Reference 0: the upper row of tokens of row 0, two below of row 2. Reference 1: one token of row 0.
    assert rider.arranged.keep.tolist() == [0, 1, 2, 6, 7, 9 + 4]
    assert rider.seen.int().tolist() == [[1, 1, 1, 0, 0, 1], [0] * 6, [0, 0, 0, 1, 1, 0]]
    masks = batch.masks.clone()
    masks[:, 0] = 0
    only = kept_references_in_rows(batch.reference, masks, saber(), GEOMETRY)
    assert only is not None and len(only.arranged.layout.streams) == 1
    assert torch.equal(only.inputs[0], batch.reference[:, :, 1:])
    assert kept_references_in_rows(batch.reference, torch.zeros_like(masks), saber(), GEOMETRY) is None
    assert kept_references_in_rows(batch.reference[:, :, :0], masks[:, :0], saber(), GEOMETRY) is None
