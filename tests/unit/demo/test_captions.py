"""Captions and instructions of the demo world: what they tell is true, in words that the encoder knows."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import torch
from torch import Generator

from refvid.core.editing import PREFIX
from refvid.core.motion import PRETEXTS
from refvid.demo import captions, casting, world
from refvid.demo.shapes import SHAPES


def draw(seed: int, n: int = 64) -> tuple[world.Looks, world.Scenes]:
    generator = Generator().manual_seed(seed)
    return casting.sample_identities(n, generator), casting.sample_scenes(n, generator)


def test_captions_say_motion_and_background_and_of_toys_only_what_is_told() -> None:
    toys, scenes = draw(0, n=2)
    toys = replace(
        toys,
        shape=torch.tensor([4, 3]),
        dynamics=torch.tensor([2, 0]),
        tempo=torch.tensor([2, 1]),
        texture=torch.tensor([2, 0]),
        primary=torch.tensor([[0.9, 0.1, 0.1], [0.95, 0.55, 0.1]]),
    )
    offset = torch.tensor([[0.0, -0.5], [0.5, 0.5 / 3]])
    scenes = replace(scenes, direction=torch.tensor([0, 4]), background=torch.tensor([0, 3]), offset=offset)
    moving, still = "a toy moving right on light background", "a toy standing still on meadow background"
    alone = [(toys, scenes)]
    pair = [(toys, scenes), (toys[torch.tensor([1, 0])], scenes)]
    assert captions.captions(alone) == [moving, still]
    every = captions.telling(2, *captions.TOLD_PARTS)
    assert captions.captions(alone, every) == [
        moving.replace("a toy", "a quickly spinning red striped star at the top"),
        still.replace("a toy", "a steady orange plain ring at the right"),
    ]
    for part, name in {
        "shape": "a star", "colour": "a red toy", "texture": "a striped toy", "motion": "a quickly spinning toy",
        "place": "a toy at the top",
    }.items():  # fmt: skip
        assert captions.captions(alone, captions.telling(2, part))[0] == moving.replace("a toy", name)
    assert captions.captions(pair, stride=4)[0] == moving.replace("a toy", "two toys") + " at stride 4"
    both = captions.captions(pair, captions.telling(2, "colour", "shape"))[0]
    assert both == moving.replace("a toy", "a red star and an orange ring")
    assert captions.names(toys, scenes, captions.telling(2, "shape", "motion")) == [
        "quickly spinning star",
        "steady ring",
    ]


def test_hues_have_the_nearest_word_and_words_name_their_own_colour() -> None:
    every = torch.arange(len(captions.COLOURS))
    assert captions.colour_names(captions.named_colour(every)) == list(captions.COLOURS)
    hue = torch.rand(200, generator=Generator().manual_seed(0))
    again = captions.hue_of(casting.rgb(hue, torch.full((200,), 0.8), torch.full((200,), 0.9)))
    torch.testing.assert_close(again, hue, rtol=0, atol=1e-4)
    assert captions.colour_names(casting.rgb(torch.tensor([0.99]), torch.ones(1), torch.ones(1))) == ["red"]


def test_an_instruction_says_a_colour_or_none() -> None:
    said = ["make the toy red", "add an orange ring", "remove the ring", "make the toy redder", ""]
    assert list(map(captions.colour_said, said)) == ["red", "orange", None, None, None]
    assert captions.colour_said("make the red ring orange") == "red", "the first"


def test_captions_use_only_words_of_the_vocabulary_and_none_is_longer_than_the_longest() -> None:
    generator = Generator().manual_seed(0)
    every = captions.telling(500, *captions.TOLD_PARTS)
    casts = [casting.sample_cast(500, generator, duet, 1.0) for duet in (False, True)]
    written = [
        line
        for cast in casts
        for stride in captions.STRIDES
        for line in captions.captions(cast, every, stride) + captions.instructions(cast)
    ]
    words = {word for line in written for word in line.split()}
    assert words <= set(captions.vocabulary())
    # Those that only edits, pairs without names and steady toys need.
    tasks = " ".join([PREFIX, *(pretext.instruction for pretext in PRETEXTS.values())]).lower().split()
    assert set(captions.vocabulary()) - words - set(tasks) <= {"two", "toys", "remove", "steady"}
    assert max(len(line.split()) for line in written) == len(captions.LONGEST_CAPTION.split())


def test_instructions_tell_what_the_clip_became() -> None:
    toys, scenes = draw(3, n=5)
    said = captions.instructions([(toys, scenes)])
    colour, shape = captions.colour_names(toys.primary), [SHAPES[i] for i in toys.shape]
    assert said == [
        f"make the {shape[0]} {colour[0]}",
        f"add {captions.with_article(f'{colour[1]} {shape[1]}')}",
        f"make the toy {captions.TEXTURE_WORDS[int(toys.texture[2])]}",
        f"change the background to {world.BACKGROUNDS[int(scenes.background[3])]}",
        f"make the toy {colour[4]}",
    ]


def test_instructions_of_a_pair_are_of_its_last_toy_and_say_which_it_is() -> None:
    toys, scenes = draw(3, n=5)
    beside = casting.other_shape(toys, Generator().manual_seed(4))
    alone = captions.instructions([(toys, scenes)])
    shapes = [SHAPES[i] for i in toys.shape]
    assert captions.instructions([(beside, scenes), (toys, scenes)]) == [
        one.replace("the toy", f"the {shape}") for one, shape in zip(alone, shapes, strict=True)
    ]


def test_places_are_said_across_the_path_and_never_along_it() -> None:
    _, scenes = draw(0, n=9)
    grid = torch.tensor([-0.5, 0.5 / 3, 0.5])
    scenes = replace(scenes, offset=torch.cartesian_prod(grid, grid), direction=torch.full((9,), 4))
    assert captions.place_words(scenes) == [
        *("top left", "left", "bottom left"),
        *("top", "middle", "bottom"),
        *("top right", "right", "bottom right"),
    ]
    for direction, rows in (
        (0, ["top", "middle", "bottom"] * 3),
        (3, ["left"] * 3 + ["middle"] * 3 + ["right"] * 3),
    ):
        moving = replace(scenes, direction=torch.full((9,), direction))
        assert captions.place_words(moving) == rows


def test_each_part_is_told_of_three_in_four_whatever_else_is_told() -> None:
    told = captions.told_by_chance(4000, Generator().manual_seed(0)).float()
    together = told.T @ told / len(told)  # share of captions that tell both of two parts
    expected = torch.full((5, 5), 0.75**2).fill_diagonal_(0.75)
    torch.testing.assert_close(together, expected, rtol=0, atol=0.03)


def test_the_words_that_users_are_told_are_words_of_the_vocabulary() -> None:
    page = (Path(__file__).parents[3] / "docs" / "command-line.md").read_text()
    table = page[page.index("| | words |") :].split("\n\n")[0].splitlines()[2:]
    cells = [line.split("|")[2].split(":")[0] for line in table]  # what follows a colon is advice
    told = {word for cell in cells for word in re.findall("[a-z]+", cell)}
    assert len(cells) == 7 and told <= {*captions.vocabulary()}
    looks = {*SHAPES, *captions.COLOURS, *captions.TEXTURE_WORDS}
    assert looks | {*captions.TEMPO_WORDS, *world.BACKGROUNDS, *world.DYNAMICS} <= told
