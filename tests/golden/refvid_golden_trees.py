"""The trees that are compared, and their records: made two at a time, those of a commit kept."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

from refvid_golden_compare import read_record
from refvid_golden_inputs import ROOT, digest_files

HERE = Path(__file__).resolve().parent
SUPPORT = ROOT / "tests" / "support"
KEPT = ROOT / "build" / "golden"
# Of the recorder's files: those of every part, and beside a part's own those of the server.
SHARED = [HERE / f"refvid_golden_{name}.py" for name in ("record", "inputs")]
OF_SERVER = [
    *(HERE / f"refvid_golden_{name}.py" for name in ("graphs", "fit")),
    *sorted(SUPPORT.glob("refvid_kept*.py")),
]
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0", "PYTHONPATH": str(SUPPORT)}
SECONDS = 3600


@dataclass(frozen=True)
class Side:
    """A tree, and that whose workflows it runs; `sha` of a commit's, whose records are kept."""

    tree: Path
    asked: Path
    sha: str | None = None

    def record(self, part: str, comfyui: Path | None) -> Path:
        """Where the record of a part lies."""
        if self.sha is None:
            return KEPT / "records" / "here" / f"{part}.safetensors"
        return KEPT / "records" / self.sha[:12] / f"{part}-{digest(part, comfyui)}.safetensors"


def commit(name: str) -> str:
    """The commit that a name stands for. ValueError where there is none."""
    asked = _git("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
    if asked.returncode:
        raise ValueError(f"OLD={name}: no commit, branch or tag of this repository")
    return asked.stdout.strip()


def worktree(sha: str) -> Path:
    """The files of a commit, below build/golden/. ValueError where somebody has changed them."""
    folder = KEPT / "trees" / sha[:12]
    _git("worktree", "prune")  # `make clean` takes such folders away
    if not folder.exists():
        made = _git("worktree", "add", "--detach", "--force", str(folder), sha)
        if made.returncode:
            raise ValueError(f"git worktree: {made.stderr.strip()}")
    changed = _git("-C", str(folder), "status", "--porcelain").stdout.strip()
    if changed or _git("-C", str(folder), "rev-parse", "HEAD").stdout.strip() != sha:
        raise ValueError(f"{folder} is no longer as {sha[:12]} has it; git worktree remove --force {folder}")
    return folder


def _git(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)


def digest(part: str, comfyui: Path | None) -> str:
    """Of all that a record depends on beside the tree."""
    files = [*SHARED, HERE / f"refvid_golden_{part}.py", *digest_files()]
    if part == "server" and comfyui is not None:
        files += [*OF_SERVER, comfyui / "comfyui_version.py"]
    whole = sha256(version("torch").encode())
    for file in files:
        whole.update(file.name.encode() + file.read_bytes())
    return whole.hexdigest()[:12]


def made_records(jobs: list[tuple[str, Side]], comfyui: Path | None) -> dict[tuple[str, Side], Path | str]:
    """The record of each part and side, or the last words of what did not make it."""
    with ThreadPoolExecutor(max(1, min(len(jobs), os.cpu_count() or 1))) as pool:
        made = pool.map(lambda job: _made(*job, comfyui), jobs)
        return dict(zip(jobs, made, strict=True))


def _made(part: str, side: Side, comfyui: Path | None) -> Path | str:
    out = side.record(part, comfyui)
    if side.sha is not None and _is_whole(out):
        return out
    out.parent.mkdir(parents=True, exist_ok=True)
    for left in out.parent.glob(f"{part}[-.]*"):  # of other digests
        left.unlink()
    log = out.with_suffix(".log")
    command = [sys.executable, HERE / "refvid_golden_record.py", part, side.tree, side.asked, out]
    with log.open("w") as said:
        try:
            done = subprocess.run(
                command, env={**os.environ, **ENVIRONMENT}, stdout=said, stderr=said, timeout=SECONDS
            )
        except subprocess.TimeoutExpired:
            return f"it took more than {SECONDS} s"
    return f"{log.read_text()[-1500:]}\n(all of it: {log})" if done.returncode else out


def _is_whole(path: Path) -> bool:
    """Whether a record is there in which nothing failed."""
    try:
        return path.exists() and not read_record(path)[1]
    except ValueError:
        return False
