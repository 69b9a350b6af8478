"""Optimizers that keep what those of torch do not: numbers in state and groups, lists, types of their own."""

import torch


class Numbers(torch.optim.Optimizer):
    """Descent whose rate grows by numbers of Python that it keeps, as Prodigy does."""

    def __init__(self, params, lr: float = 1.0, weight_decay: float = 0.0, growth: float = 1.1):
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "growth": growth, "d": 0.1, "k": 0})

    def step(self, closure=None):
        for group in self.param_groups:
            group["k"] += 1
            group["d"] = group["d"] * group["growth"] + 1e-3 / 3
            group["first"] = group["k"] == 1  # which it has not to begin with
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                state["sum"] = 0.9 * state.get("sum", 0.0) + float(parameter.grad.double().sum())
                state.setdefault("begun", None)
                state.setdefault("called", "a name")
                state["past"] = [*state.get("past", [])[-1:], parameter.grad.detach().clone()]
                state["pair"] = (state["sum"], parameter.grad.detach().double().mean())
                state["fine"] = parameter.grad.detach().double() + state["sum"]
                move = state["past"][0] + state["past"][-1] + state["pair"][1] + state["fine"] * 1e-3
                parameter.data.add_(move.to(parameter), alpha=-group["lr"] * group["d"])


class Unsaved(torch.optim.SGD):
    """Descent that keeps what no file can hold."""

    def step(self, closure=None):
        super().step(closure)
        self.state[self.param_groups[0]["params"][0]]["made"] = object()


class WithClosure(torch.optim.SGD):
    """Descent that has to be given the loss."""

    def step(self, closure):  # type: ignore[override]
        closure()
