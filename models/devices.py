"""Where batches are computed: on the processor's cores, or on a GPU beside them."""

import copy
from typing import Literal

import torch
from torch import Tensor, nn

DeviceName = Literal["cpu", "cuda"]
CPU = torch.device("cpu")


class DeviceError(RuntimeError):
    """The device that was asked for is not there."""


def device_named(name: DeviceName) -> torch.device:
    """The device of a setting.

    Raises:
        DeviceError: there is none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise DeviceError(
            "the device is to be cuda, but torch finds no GPU here: install a build of torch with "
            "CUDA and a driver, or set GRADELINE_DEVICE to cpu"
        )
    return torch.device(name)


def kind_of(device: torch.device) -> str:
    """The device's name, where it is not the processor."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor on a device; the caller goes on while it is copied to a GPU."""
    if device.type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def fetched(tensor: Tensor) -> Tensor:
    """A tensor on the processor; waits for what it depends on, not for work queued after it."""
    if tensor.device.type != "cuda":
        return tensor.cpu()
    host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    host.copy_(tensor, non_blocking=True)
    arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
    arrived.record()
    arrived.synchronize()
    return host


def moved(model: nn.Module, device: torch.device) -> nn.Module:
    """A copy of a model on a device, with what ``keep_rotary_exact`` took out of its buffers."""
    copied = copy.deepcopy(model).to(device)
    for module in copied.modules():
        for name, value in list(vars(module).items()):
            if isinstance(value, Tensor):
                setattr(module, name, value.to(device))
    return copied
