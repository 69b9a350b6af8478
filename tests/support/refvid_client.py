"""Talking to a running ComfyUI: queue a graph, wait for it, read what it made or why it failed."""

import copy
import json
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import refvid_patience as patience

Graph = dict[str, dict[str, Any]]
LOG = "server.log"  # in the base folder of a server
SHOWN = 3000  # characters of it, where something went wrong
PAUSES = 0.02, 0.2  # seconds between two questions whether a prompt has ended, from the first to the longest


class Gone(ConnectionError):
    """A server that is lost: it has ended, answers no more, or holds a prompt for ever.

    From then on every question to it raises the same error at once, and refvid_setups.py reports it once.
    """


def last_words(base: Path) -> str:
    """The end of what a server logged, with a heading."""
    return f"The end of its log:\n{(base / LOG).read_text('utf-8', 'replace')[-SHOWN:]}"


@dataclass(frozen=True)
class Failure:
    """Failure of a run: where it stopped, and what was said about it."""

    node: str
    kind: str
    message: str


@dataclass
class Client:
    """A ComfyUI at `url` whose inputs and outputs lie in `base`, with the pack in `folder` of its custom
    nodes."""

    url: str
    base: Path
    folder: str
    process: subprocess.Popen
    gone: Gone | None = field(default=None, init=False)

    def text(self, path: str) -> str:
        return self._answer(self.url + path)

    def get(self, path: str) -> Any:
        return json.loads(self.text(path))

    def post(self, path: str, value: Any) -> tuple[int, Any]:
        """-> (HTTP status, answer)"""
        request = urllib.request.Request(
            self.url + path, json.dumps(value).encode(), {"Content-Type": "application/json"}
        )
        try:
            return 200, json.loads(self._answer(request) or "{}")
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read() or b"{}")

    def _answer(self, request: str | urllib.request.Request) -> str:
        """Answer of the server. HTTPError where it refuses, Gone where it is lost."""
        if self.gone:
            raise self.gone
        try:
            with urllib.request.urlopen(request, timeout=patience.ANSWER) as answer:
                return answer.read().decode()
        except urllib.error.HTTPError:
            raise
        except OSError as error:
            if isinstance(getattr(error, "reason", error), TimeoutError):
                raise self._lost(f"has not answered for {patience.ANSWER:.0f} s") from error
            if self._ended():
                raise self._lost(f"stopped with code {self.process.returncode}") from error
            raise

    def _ended(self) -> bool:
        """True where the server's process is no more; a connection breaks a moment before it ends."""
        try:
            return self.process.wait(patience.BREAKS) is not None
        except subprocess.TimeoutExpired:
            return False

    def _lost(self, why: str) -> Gone:
        self.gone = Gone(f"ComfyUI {why}. {last_words(self.base)}")
        return self.gone

    def run(self, graph: Graph) -> dict[str, Any]:
        """Queue a graph that the server must accept; -> its history entry, once it has ended."""
        status, answer = self.post("/prompt", {"prompt": graph, "client_id": uuid.uuid4().hex})
        assert status == 200, json.dumps(answer, indent=1)
        return self.ended(answer["prompt_id"])

    def ended(self, prompt: str) -> dict[str, Any]:
        """The history entry of a prompt, once it has ended. Gone where it never does."""
        until, pause = time.monotonic() + patience.PROMPT, PAUSES[0]
        while not (history := self.get(f"/history/{prompt}")):
            if time.monotonic() > until:
                raise self._lost(f"has not ended a prompt within {patience.PROMPT:.0f} s")
            time.sleep(pause)
            pause = min(1.2 * pause, PAUSES[1])
        return history[prompt]

    def outputs(self, graph: Graph, node: str = "save") -> list[Path]:
        """Run a graph that must succeed; -> the files that `node` wrote."""
        entry = self.run(graph)
        assert entry["status"]["status_str"] == "success", failure(entry)
        return [
            self.base / made["type"] / made["subfolder"] / made["filename"]
            for made in entry["outputs"][node]["images"]
        ]

    def refusals(self, graph: Graph) -> dict[str, list[tuple[str | None, str]]]:
        """Queue a graph that must be refused with HTTP 400; -> (input, details) of the errors of every
        node."""
        status, answer = self.post("/prompt", {"prompt": graph})
        assert status == 400, answer
        return {
            node: [(e.get("extra_info", {}).get("input_name"), e["details"]) for e in said["errors"]]
            for node, said in answer["node_errors"].items()
        }


def failure(entry: dict[str, Any]) -> Failure | None:
    """Why a run failed, from its history entry; None if it did not."""
    for kind, said in entry["status"]["messages"]:
        if kind == "execution_error":
            return Failure(said["node_id"], said["exception_type"], said["exception_message"].strip())
    return None


def edited(graph: Graph, inputs: dict[str, Any], nodes: Graph | None = None) -> Graph:
    """A copy with other inputs, {"node.input": value}, None takes one away; and with more nodes, or
    others."""
    graph = {**copy.deepcopy(graph), **copy.deepcopy(nodes or {})}
    for place, value in inputs.items():
        node, _, name = place.partition(".")
        if value is None:
            del graph[node]["inputs"][name]
        else:
            graph[node]["inputs"][name] = value
    return graph


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}
