"""How the further method of `refvid_sixth` trains: the tokens alone learn, behind clips of whatever
source."""

from dataclasses import dataclass

import refvid_sixth as sixth
import torch
from safetensors.torch import save_file
from torch import Generator, Tensor, nn

from refvid.backbones.wan.text import fold_padding
from refvid.core.guidance import CONDITIONED
from refvid.hosts.plain.evaluation import Text
from refvid.hosts.plain.sampling import Condition, velocity
from refvid.training.engine.adapter import Adapter
from refvid.training.engine.cache import PART, Rows
from refvid.training.engine.encode import ClipEncoder, encode_clips
from refvid.training.engine.loop import Losses
from refvid.training.engine.noise import sample_sigma
from refvid.training.engine.optimise import Optimiser
from refvid.training.engine.state import RunFiles


@dataclass(frozen=True)
class LearnedTraining:
    steps: int = 2
    batch: int = 4
    seed: int = 0


@dataclass(frozen=True)
class Captioned(Rows):
    latent: Tensor
    tokens: Tensor


@dataclass(frozen=True)
class CaptionedBatch:
    rows: Captioned
    noise: Tensor
    sigma: Tensor


class LearnedTokens(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.tokens = nn.Parameter(sixth.learned(width))


class LearnedMethod(Adapter):
    """A `Method`."""

    name = sixth.NAME
    files = RunFiles("learned", ("learned.safetensors",))

    def data(self, config, backbone, setting, ranks):
        encoder = ClipEncoder(backbone.vae, backbone.text, setting.source, setting.encoded)

        def encode_part(index: int) -> Captioned:
            footage = setting.source.footage(PART, Generator().manual_seed(index))
            video, _ = footage.film(32, 5, stride=12)
            return Captioned(encode_clips(backbone.vae, video), encoder.tokens(footage.captions()))

        return encoder.rows(Captioned, "learned", PART, (32, 5, 12), encode_part)

    def trainee(self, config, backbone, data):
        backbone.dit.requires_grad_(False)
        return LearnedTokens(backbone.dit.width)

    def optimiser(self, config, trainee, ranks):
        return Optimiser(trainee, lambda *_: False, 0.5)

    def draw(self, config, data, draws, step, ranks):
        rows = data[torch.randint(0, len(data), (config.batch,), generator=draws.own)]
        noise = torch.randn(rows.latent.shape, generator=draws.own)
        return CaptionedBatch(rows, noise, sample_sigma(config.batch, 2.0, draws.own))

    def losses(self, config, backbone, trainee, batch):
        latent, level = batch.rows.latent.float(), batch.sigma[:, None, None, None, None]
        words = Text(*fold_padding(backbone.text.states(batch.rows.tokens), batch.rows.tokens))
        condition = Condition({CONDITIONED.text: words}, (sixth.plain_rider()(trainee.tokens),))
        noisy = (1 - level) * latent + level * batch.noise
        said = velocity(backbone.dit, noisy, batch.sigma, condition, CONDITIONED)
        return Losses({"video": (1.0, (said.float() - (batch.noise - latent)).square().mean())})

    def export(self, config, backbone, data, averaged, folder):
        save_file({"tokens": averaged.tokens.detach()}, folder / "learned.safetensors")
