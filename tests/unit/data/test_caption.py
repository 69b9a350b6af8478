"""Stage caption: what is kept, what is made, and what is refused of clips as people have them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from refvid_captioners import film
from refvid_footage import CAPTION

from refvid.data.index import A_STILL, Clip
from refvid.data.journal import Journal
from refvid.data.models import captioner as captioners
from refvid.data.pictures import pictures_of, spread
from refvid.data.stage import Done, StageContext, concluded, look_at_all
from refvid.data.stages.caption import Caption, CaptionOptions, is_short
from refvid.data.weights import Weights

LONG = (
    "A white van seen from above drives slowly up a grey street between two pavements, while the camera hangs "
    "still over the road and the light is flat and without any shadow."
)


class Teller:
    """Captioner that remembers what it was shown."""

    def __init__(self, said: str = LONG):
        self.said, self.seen, self.shortened = said, [], []

    def long(self, pictures, times):
        self.seen.append((list(pictures), list(times)))
        return self.said

    def short(self, caption):
        self.shortened.append(caption)
        return f"Short of {caption[:12]}"


@pytest.fixture
def teller(monkeypatch) -> Teller:
    made = Teller()
    monkeypatch.setattr(captioners, "load_captioner", lambda folder, device: made)
    return made


def context_of(folder: Path, options: CaptionOptions, given: bool, clips: list[Clip]) -> StageContext:
    weights = Weights({"captioner": folder} if given else {})
    used = Caption().uses(options, weights)
    sources = {clip.id: clip for clip in clips if clip.id in {one.source for one in clips}}
    return StageContext(options, weights, folder, dict.fromkeys(used, "digest"), sources)


def captioned(
    folder: Path, clips: list[Clip], options: CaptionOptions = Caption.defaults, given: bool = True
) -> tuple[list[Clip], Done]:
    """The index after the stage, concluded without the weights, as it is read later."""
    context = context_of(folder, options, given, clips)
    journal = Journal(folder / f"work {options} {given}")
    done = look_at_all(Caption(), clips, context, journal)
    after = concluded(Caption(), clips, replace(context, weights=Weights({})), journal.results())
    assert after is not None
    return after, done


def test_captions_that_clips_came_with_are_kept_byte_for_byte_and_missing_ones_made(tmp_path, teller):
    odd = f"  {CAPTION}\nzwei\t{LONG} "
    clips = [
        film(id="both", caption=odd, short_caption=" kurz "),
        film(id="long", caption=odd),
        film(id="few words", caption=CAPTION),
        film(id="short alone", short_caption="kurz"),
        film(id="none", start=30, stop=76, frames=46),
    ]
    after, done = captioned(tmp_path, clips)
    words = {clip.id: (clip.caption, clip.short_caption) for clip in after}
    assert words == {
        "both": (odd, " kurz "),
        "long": (odd, f"Short of {odd[:12]}"),
        "few words": (CAPTION, ""),
        "short alone": (LONG, "kurz"),
        "none": (LONG, f"Short of {LONG[:12]}"),
    }
    assert all(clip.ok for clip in after) and (done.made, done.kept) == (3, 0)
    assert teller.shortened == [odd, LONG] and len(teller.seen) == 2
    assert captioned(tmp_path, clips)[1] == Done(0, 3)


def test_the_captioner_sees_pictures_spread_over_the_clip_at_their_times(tmp_path, teller):
    clip = film(start=30, stop=76, frames=46)
    captioned(tmp_path, [clip], CaptionOptions(pictures=4))
    ((seen, times),) = teller.seen
    places = spread(46, 4)
    assert times == [place / 25 for place in places]
    for picture, wanted in zip(seen, pictures_of(clip, places), strict=True):
        assert np.array_equal(picture, wanted)


def test_a_still_is_captioned_from_its_one_picture(tmp_path, teller):
    (picture,) = pictures_of(film(), [0])
    Image.fromarray(picture).save(tmp_path / "still.png")
    still = film(id="still", kind=A_STILL, stop=1, frames=1, fps=0.0)
    (after,), _ = captioned(tmp_path, [replace(still, path=str(tmp_path / "still.png"))])
    ((seen, times),) = teller.seen
    assert np.array_equal(seen, [picture]) and times == [0.0] and after.caption == LONG


def test_captions_are_made_again_where_that_is_asked_for(tmp_path, teller):
    clips = [film(id="both", caption="mine", short_caption="my short one")]
    (kept,), _ = captioned(tmp_path, clips)
    (again,), _ = captioned(tmp_path, clips, CaptionOptions(again=True))
    assert (kept.caption, kept.short_caption) == ("mine", "my short one")
    assert (again.caption, again.short_caption) == (LONG, f"Short of {LONG[:12]}")
    teller.said = "Few words."
    (tmp_path / "other").mkdir()
    (again,), _ = captioned(tmp_path / "other", clips, CaptionOptions(again=True))
    assert (again.caption, again.short_caption) == ("Few words.", "")


def test_without_a_captioner_clips_without_words_are_refused_and_nothing_is_made_up(tmp_path):
    clips = [
        film(id="none"),
        film(id="long", caption=LONG),
        film(id="source"),
        film(id="edit", source="source", instruction="make it red"),
        film(id="broken").refused("it does not decode"),
    ]
    after, _ = captioned(tmp_path, clips, given=False)
    assert after[1:] == clips[1:]
    assert (after[0].status, after[0].reason) == ("refused", "no caption")
    assert after[0].detail.startswith("give captioner = a folder of Qwen2.5-VL or Qwen3-VL")


def test_clips_of_an_edit_are_not_captioned(tmp_path, teller):
    clips = [film(id="source"), film(id="edit", source="source", instruction="make it red")]
    assert captioned(tmp_path, clips)[0] == clips and not teller.seen


def test_a_clip_of_which_the_captioner_says_nothing_is_refused(tmp_path, teller):
    teller.said = ""
    (after,), _ = captioned(tmp_path, [film()])
    assert (after.reason, after.detail) == ("no caption", "the captioner said nothing")


def test_options_and_weights_that_do_not_go_together_are_refused_before_any_work(tmp_path):
    stage, none = Caption(), Weights({})
    assert stage.uses(CaptionOptions(), none) == ()
    with pytest.raises(ValueError, match="caption: needs captioner = a folder of Qwen2"):
        stage.uses(CaptionOptions(again=True), none)
    with pytest.raises(ValueError, match=f"caption: captioner: there is no {tmp_path}/none"):
        stage.uses(CaptionOptions(), Weights({"captioner": tmp_path / "none"}))
    with pytest.raises(ValueError, match="caption: pictures is 0; needed 1 or more"):
        stage.uses(CaptionOptions(pictures=0), none)


def test_words_of_languages_without_spaces_count():
    assert is_short("a man on a bike") and not is_short(LONG)
    assert is_short("一辆白色货车驶过。") and not is_short(
        "一辆白色货车从上方缓缓驶过灰色的街道，镜头静止不动。"
    )
