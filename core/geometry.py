"""Geometry of a video backbone: how it cuts a film into latent cells and tokens, as a field of the layout.
Every other file asks here."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Geometry:
    """The numbers of one backbone.

    patch       latent cells on a side of a token; a token is one latent frame deep
    stride      pixels on a side of a latent cell
    group       pictures in a latent frame, but for the first, which holds one
    channels    of a latent
    clock       timestep of pure noise; that of a clean latent is 0
    head_split  parts of an attention head that turn with the frame, the row and the column. Rows and columns
                are rounded down to whole pairs of features, frames take what is left
    """

    patch: int
    stride: int
    group: int
    channels: int
    clock: int
    head_split: tuple[int, int, int]

    @property
    def token(self) -> int:
        """Pixels on a side of a token."""
        return self.patch * self.stride

    @property
    def masked_channels(self) -> int:
        """Channels of a masked input: a latent, a mask with one channel for each picture of a latent frame, a
        latent."""
        return 2 * self.channels + self.group

    def pictures(self, frames: int) -> int:
        """Pictures that so many latent frames hold."""
        return self.group * (frames - 1) + 1

    def frames(self, pictures: int) -> int:
        """Latent frames that hold so many pictures, 1 + group · k of them."""
        return (pictures - 1) // self.group + 1

    def whole(self, pictures: int) -> int:
        """The fewest pictures, this many or more, that fill their latent frames."""
        return pictures + -(pictures - 1) % self.group

    def tokens(self, frames: int, rows: int, columns: int) -> tuple[int, int, int]:
        """The grid of tokens over a latent of so many frames, rows and columns; a token at the edge may hold
        fewer cells."""
        return frames, -(-rows // self.patch), -(-columns // self.patch)

    def count(self, frames: int, rows: int, columns: int) -> int:
        """Tokens of such a latent."""
        frames, rows, columns = self.tokens(frames, rows, columns)
        return frames * rows * columns

    def latent(self, pictures: int, height: int, width: int) -> tuple[int, int, int]:
        """Latent frames, rows and columns of a film of so many pictures, in pixels. ValueError where these do
        not fit."""
        if pictures < 1 or pictures != self.whole(pictures):
            near = self.group * max(0, round((pictures - 1) / self.group)) + 1
            raise ValueError(
                f"frames is {pictures}; the model makes {self.group}k + 1: {self.lengths} ({near} is nearest)"
            )
        for name, side in (("height", height), ("width", width)):
            if side < self.token or side % self.token:
                raise ValueError(
                    f"{name} is {side}; needed a multiple of {self.token} pixels, {self.token} or more"
                )
        return self.frames(pictures), height // self.stride, width // self.stride

    @property
    def lengths(self) -> str:
        """The numbers of pictures that fill their latent frames, in words."""
        return f"{', '.join(str(self.pictures(frames)) for frames in (1, 2, 3))}, …"

    def split(self, head_size: int) -> tuple[int, int, int]:
        """Features of a head that turn with the frame, the row and the column."""
        whole = sum(self.head_split)
        rows, columns = (2 * (head_size * part // (2 * whole)) for part in self.head_split[1:])
        return head_size - rows - columns, rows, columns
