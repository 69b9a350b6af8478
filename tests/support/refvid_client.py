"""Talking to a running ComfyUI: queue a graph, wait for it, read what it made or why it failed."""

import copy
import json
import time
import urllib.error
import urllib.request
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Graph = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Failure:
    """Where a run stopped and what was said about it."""

    node: str
    kind: str
    message: str


class Client:
    """A ComfyUI at `url` whose inputs and outputs lie in `base`."""

    def __init__(self, url: str, base: Path, folder: str):
        self.url, self.base, self.folder = url, base, folder

    def text(self, path: str) -> str:
        with urllib.request.urlopen(self.url + path, timeout=60) as answer:
            return answer.read().decode()

    def get(self, path: str) -> Any:
        return json.loads(self.text(path))

    def post(self, path: str, value: Any) -> tuple[int, Any]:
        """-> (HTTP status, answer)"""
        request = urllib.request.Request(
            self.url + path, json.dumps(value).encode(), {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.loads(answer.read() or b"{}")
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read() or b"{}")

    def run(self, graph: Graph, seconds: float = 120.0) -> dict[str, Any]:
        """Queue a graph that the server must accept; -> its history entry, once it has ended."""
        status, answer = self.post("/prompt", {"prompt": graph, "client_id": uuid.uuid4().hex})
        assert status == 200, json.dumps(answer, indent=1)
        return self.ended(answer["prompt_id"], seconds)

    def ended(self, prompt: str, seconds: float = 120.0) -> dict[str, Any]:
        """The history entry of a prompt, once it has ended."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            history = self.get(f"/history/{prompt}")
            if history:
                return history[prompt]
            time.sleep(0.02)
        raise TimeoutError(f"the graph has not ended after {seconds:.0f} s")

    def outputs(self, graph: Graph, node: str = "save") -> list[Path]:
        """Run a graph that must succeed; -> the files that `node` wrote."""
        entry = self.run(graph)
        assert entry["status"]["status_str"] == "success", failure(entry)
        return [
            self.base / made["type"] / made["subfolder"] / made["filename"]
            for made in entry["outputs"][node]["images"]
        ]

    def refusals(self, graph: Graph) -> dict[str, list[tuple[str | None, str]]]:
        """Queue a graph that must be refused with HTTP 400; -> (input, details) of the errors of every node."""
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
    """A copy with other inputs, {"node.input": value}, None takes one away; and with more nodes, or others."""
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
