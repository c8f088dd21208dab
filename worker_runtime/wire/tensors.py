"""Tensors of torch in pickles: their bytes lie in buffers of their own, where torch would copy them into the stream.

A tensor arrives on the device that it was on where the receiver has that device, else on the CPU: a result made on a
GPU can be read by a program without one. Of a view only what it shows travels, and not all that it is a view of.
"""

import ctypes
import importlib
import pickle
import sys
from collections.abc import Sequence
from typing import Any

_CPU, _CUDA = "cpu", "cuda"


def reduced(value: Any) -> Any:
    """Take a tensor apart for a pickler with buffers; NotImplemented for other values, and for special tensors."""
    torch = sys.modules.get("torch")
    if torch is None or type(value) is not getattr(torch, "Tensor", None) or not _is_plain(torch, value):
        return NotImplemented
    plain = value.detach()
    packed = plain if _is_dense(plain) else plain.contiguous()
    there = packed.cpu()
    buffer = pickle.PickleBuffer(raw_bytes(there, there.numel() * there.element_size()))
    name = str(value.dtype).removeprefix("torch.")
    form = (name, tuple(there.shape), there.stride(), bool(value.requires_grad), str(value.device))
    return _made, (buffer, *form)


def _is_plain(torch: Any, value: Any) -> bool:
    """Whether bytes, form and device are all of it."""
    return (
        value.layout is torch.strided
        and value.device.type in (_CPU, _CUDA)
        and value.numel() > 0
        and not (value.is_quantized or value.is_conj() or value.is_neg() or any(getattr(value, "names", ())))
        and not (vars(value) or value._backward_hooks or value.grad_fn is not None)
    )


def _is_dense(tensor: Any) -> bool:
    """Whether its elements, in whichever order, fill the memory from the first one on without a gap."""
    expected = 1
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size != 1 and stride != expected:
            return False
        expected *= size
    return True


def raw_bytes(tensor: Any, size: int) -> memoryview:
    """The `size` bytes of a dense tensor on the CPU, without a copy and without numpy; they live as the view does."""
    array = (ctypes.c_ubyte * size).from_address(tensor.data_ptr())
    array.tensor = tensor  # type: ignore[attr-defined]
    return memoryview(array).cast("B")


def _made(buffer: Any, name: str, shape: Sequence[int], stride: Sequence[int], requires_grad: bool, device: str) -> Any:
    """The tensor again, over the buffer where that can be written to."""
    torch = importlib.import_module("torch")
    view = memoryview(buffer)
    flat = torch.frombuffer(bytearray(view) if view.readonly else view, dtype=getattr(torch, name))
    tensor = flat.as_strided(tuple(shape), tuple(stride))
    kind, _, number = device.partition(":")
    if kind == _CUDA and torch.cuda.is_available() and int(number or 0) < torch.cuda.device_count():
        tensor = tensor.to(device)
    return tensor.requires_grad_() if requires_grad else tensor
