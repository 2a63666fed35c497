"""Networks with their optimisers, and how these step: clipped, left out where gradients are no numbers, and on a GPU
replayed as graphs.
"""

import torch
from torch import Tensor, nn

from dg.methods.finite_steps import FiniteSteps
from dg.methods.graphed_steps import Found, Given, GraphedSteps, Recorder, Work
from dg.methods.step_key import StepKey
from dg.pose.devices import indexed, single_precision
from dg.settings.errors import ConfigError

LEFT_OUT = "left out/"  # in the answer of a step: whether that of a network was, see `FiniteSteps.step`


class TrainedNetworks:
    """The networks that a method trains.

    Args:
        device: of the networks.
        grad_clip: the largest norm of a network's gradients.
        graphs: whether steps are replayed as CUDA graphs: `on`, `off`, or `auto`, where the device is a GPU.

    Attributes:
        network_steps: steps of each network but the lifter.

    Raises:
        ConfigError: graphs are on, and the device is no GPU.
    """

    def __init__(self, device: torch.device, grad_clip: float, graphs: str = "off") -> None:
        self.device, self.grad_clip = device, grad_clip
        self.networks = nn.ModuleDict()
        self.optimizers: dict[str, torch.optim.Optimizer] = {}
        self.network_steps: dict[str, int] = {}
        self.finite_steps = FiniteSteps(deferred=device.type == "cuda")
        self.graphs = GraphedSteps(indexed(device), _recorder(device, graphs), self.step_state)

    def add_network(self, name: str, network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Register a network beside the lifter: it is moved to the device, saved and restored with the method."""
        self.networks[name] = network.to(self.device)
        self.optimizers[name] = optimizer

    def step_network(self, name: str, loss: Tensor, lr: float) -> None:
        """Make one clipped optimiser step of one network; gradients of other networks are not computed."""
        self.set_rate(name, lr)
        self.account(self.descend(name, loss, lr))

    def descend(self, name: str, loss: Tensor, lr: float | Tensor) -> Found:
        """Do what `step_network` does on the device; `take_step` takes the answer into account."""
        self.optimizers[name].zero_grad(set_to_none=True)
        loss.backward(inputs=list(self.networks[name].parameters()))
        return {LEFT_OUT + name: self.step_along(name, lr)}

    def step_along(self, name: str, lr: float | Tensor) -> Tensor | None:
        """One optimiser step along the clipped gradients at hand, as `FiniteSteps.step`. lr: a tensor in a recording,
        else the rate that is set.
        """
        optimizer = self.optimizers[name]
        norm = nn.utils.clip_grad_norm_(self.networks[name].parameters(), self.grad_clip)
        if not isinstance(lr, Tensor):
            return self.finite_steps.step(name, optimizer, norm)
        before = [dict(group) for group in optimizer.param_groups]
        try:
            for group in optimizer.param_groups:
                group.update(lr=lr, capturable=True)
            return self.finite_steps.step(name, optimizer, norm)
        finally:
            for group, kept in zip(optimizer.param_groups, before, strict=True):
                group.update(kept)

    def set_rate(self, name: str, lr: float) -> None:
        """Set the learning rate of a network."""
        for group in self.optimizers[name].param_groups:
            group["lr"] = lr

    def account(self, found: Found) -> Found:
        """Take the steps out of an answer, and count them."""
        for name in [name for name in found if name.startswith(LEFT_OUT)]:
            network, left_out = name.removeprefix(LEFT_OUT), found.pop(name)
            if left_out is not None:
                self.finite_steps.later(network, left_out)
            if network != "lifter":
                self.network_steps[network] = self.network_steps.get(network, 0) + 1
        return found

    def take_step(
        self,
        name: str,
        work: Work,
        given: Given,
        scalars: dict[str, float],
        key: StepKey | None = None,
        turn: tuple | None = (),
    ) -> dict[str, Tensor]:
        """Make a step, by replaying a graph of it where there is one (`dg.methods.graphed_steps`).

        Args:
            name: of the step.
            work: what it does on the device; steps of optimisers by `descend`, whose answer is part of its own.
            given: the poses and tensors that it is given.
            scalars: numbers that change from step to step; `lr/NETWORK` are the rates of the networks that it may step.
            key: the source of its random numbers.
            turn: what else it decides by on the host; None: no graph is to be made of it.

        Returns:
            What the work returned.
        """
        if self.device.type == "cuda":
            scalars = {name: single_precision(value) for name, value in scalars.items()}
        for rate in [rate for rate in scalars if rate.startswith("lr/")]:
            self.set_rate(rate.removeprefix("lr/"), scalars[rate])
        if turn is None:
            return self.account(work(given, scalars, key))
        return self.account(self.graphs.take(name, work, given, scalars, key, turn))

    def step_state(self) -> list[Tensor]:
        """List every tensor that a step may change in place: networks, optimisers, and what a method adds to them."""
        slots = [slot for o in self.optimizers.values() for slots in o.state.values() for slot in slots.values()]
        return [*self.networks.state_dict().values(), *filter(torch.is_tensor, slots)]


def _recorder(device: torch.device, graphs: str) -> Recorder | None:
    """What makes graphs of the steps, where some are to be made."""
    on_gpu = device.type == "cuda"
    if graphs == "on" and not on_gpu:
        raise ConfigError(
            f"graphs=on: CUDA graphs need a GPU, and this run trains on {device}; leave graphs=auto, or give "
            "device=cuda where torch sees a GPU"
        )
    if graphs == "off" or not on_gpu:
        return None
    from dg.methods.cuda_recorder import CudaRecorder

    return CudaRecorder(indexed(device))
