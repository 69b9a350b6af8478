"""Broken files inside ComfyUI: its loaders refuse what those without ComfyUI refuse, and neither host reads
what the other does not."""

from collections.abc import Callable

import pytest
import torch
from refvid_malice import BYTES, PLACES
from refvid_malice_headers import FEW, HEADERS
from refvid_malice_metadata import kinds, transformer
from refvid_malice_sizes import sizes
from refvid_malice_tensors import State, broken_names, broken_tensors, changed, other_kinds
from refvid_refused import SIZES, complaints, outcome, plain_readers
from refvid_soak import amount

pytestmark = pytest.mark.comfy
EVERY = {**PLACES, **BYTES, **HEADERS}
READERS = (
    "diffusion_model",
    "diffusion_model with modules",
    "vae",
    "text_encoder",
    "adapter",
    "editing adapter",
    "Load Identity",
)


@pytest.fixture(scope="module")
def readers(files):
    from refvid_refused_comfy import comfy_readers  # imports ComfyUI

    return comfy_readers(files)


@pytest.fixture(scope="module")
def twins(files, readers):
    """Readers by the name of a loader inside ComfyUI: the one that reads the same files without."""
    from refvid_refused_comfy import TWINS

    plain = plain_readers(files)
    return {name: plain[TWINS[name]] for name in readers}


@pytest.mark.parametrize("name", READERS)
def test_a_whole_file_is_taken(files, readers, name):
    readers[name].read(files[readers[name].kind])


@pytest.mark.parametrize("name", READERS)
def test_what_is_no_whole_file_is_refused(files, readers, tmp_path, name):
    names = amount([*FEW], [*EVERY])
    assert complaints(EVERY, names, files[readers[name].kind], readers[name], tmp_path) == []


@pytest.mark.parametrize("name", READERS)
def test_tensors_names_and_sizes_that_are_wrong_are_refused(files, readers, tmp_path, name):
    reader = readers[name]
    whole, width = files[reader.kind], SIZES.text_width if reader.kind == "text" else SIZES.width
    tensors = broken_tensors(whole)
    corpus = broken_names(whole) | other_kinds(files, reader.kind) | sizes(reader.kind, width)
    names = [*[*tensors][:: amount(401, 17)], *[*corpus][:: amount(4, 1)]]
    assert complaints(tensors | corpus, names, whole, reader, tmp_path) == []


@pytest.mark.parametrize(
    ("name", "corpus"),
    [
        ("diffusion_model", {**transformer("num_heads"), **transformer("text_dim")}),
        ("editing adapter", kinds("sama", "1")),
    ],
)
def test_metadata_of_any_type_sign_and_size_is_refused(files, readers, tmp_path, name, corpus):
    reader = readers[name]
    assert complaints(corpus, [*corpus][:: amount(9, 1)], files[reader.kind], reader, tmp_path) == []


# ---- files that are whole in one way or another: read by both, or by neither


def every(change: Callable[[torch.Tensor], torch.Tensor], *keys: str) -> Callable[[State], None]:
    """A change of the tensors of these names, or of all floating ones."""

    def changes(state: State) -> None:
        for key, value in state.items():
            if key in keys or (not keys and value.is_floating_point()):
                state[key] = change(value)

    return changes


def under(prefix: str) -> Callable[[State], None]:
    def changes(state: State) -> None:
        for key in [*state]:
            state[prefix + key] = state.pop(key)

    return changes


def more(*keys: str, side: int = 0) -> Callable[[State], None]:
    """A row more of each, or a column."""
    return every(lambda value: torch.cat([value, value.narrow(side, 0, 1)], side), *keys)


HEAD = ("head.head.weight", "head.head.bias")
FFN = [(f"blocks.{n}.ffn.0.weight", f"blocks.{n}.ffn.0.bias", f"blocks.{n}.ffn.2.weight") for n in (0, 1)]
ODD: dict[str, Callable[[State], object]] = {
    "fp16": every(lambda value: value.half()),
    "bf16": every(lambda value: value.bfloat16()),
    "float64": every(lambda value: value.double()),
    "zeros": every(torch.zeros_like),
    **{f"under {one}": under(one) for one in ("model.", "diffusion_model.", "model.diffusion_model.", "net.", "module.")},
    "more channels in": more("patch_embedding.weight", side=1),
    "36 channels in": every(lambda value: torch.cat([value, value, value[:, :4]], 1), "patch_embedding.weight"),
    "a channel more out": every(lambda value: torch.cat([value, value[:4]]), *HEAD),
    "a feature more of text": more("text_embedding.0.weight", side=1),
    "two features more of time": every(lambda value: torch.cat([value, value[:, :2]], 1), "time_embedding.0.weight"),
    "a wider feed-forward": lambda state: [more(*one[:2])(state) or more(one[2], side=1)(state) for one in FFN],
    "a third block": lambda state: state.update(
        {key.replace("blocks.1.", "blocks.2."): value for key, value in state.items() if key.startswith("blocks.1.")}
    ),
    "one block": lambda state: [state.pop(key) for key in [*state] if key.startswith("blocks.1.")],
    "no modules": lambda state: [state.pop(key) for key in [*state] if key.startswith(("segment", "siglip", "semantic"))],
    "half of the modules": lambda state: [state.pop(key) for key in [*state] if key.startswith(("siglip", "semantic"))],
    "a table of words twice": lambda state: state.update({"encoder.embed_tokens.weight": state.get("shared.weight", torch.zeros(1))}),
    "more words": more("shared.weight"),
    "signed bytes": every(lambda value: value.view(torch.int8), "spiece_model"),
    "no LoRA": lambda state: [state.pop(key) for key in [*state] if "lora_" in key or key.endswith("alpha")],
    "no alpha": lambda state: [state.pop(key) for key in [*state] if key.endswith("alpha")],
}  # fmt: skip


@pytest.mark.parametrize("name", READERS)
def test_what_is_whole_in_another_way_is_read_by_both_hosts_or_by_none(
    files, readers, twins, tmp_path, caplog, name
):
    whole, found = files[readers[name].kind], {}
    names = {*[*ODD][:: amount(3, 1)], "zeros"}
    for odd, change in ODD.items():
        if odd not in names:
            continue
        path = tmp_path / whole.name
        changed(lambda state, change=change: change(state) and None)(whole, path)
        found[odd] = outcome(readers[name], path)[0], outcome(twins[name], path)[0]
    differ = {odd: both for odd, both in found.items() if (both[0] is None) != (both[1] is None)}
    assert not differ
    assert found["zeros"] == (None, None)
    dropped = [record.getMessage() for record in caplog.records if "not loaded" in record.getMessage()]
    assert not dropped, "core says in its log alone what it has no use for"
