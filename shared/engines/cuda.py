"""The few calls of the CUDA runtime that TensorRT needs around it: device memory, copies and a stream, by ctypes.

So that a Jetson needs no CUDA package for Python beside what JetPack brings. Every call's return code is checked.
"""

from __future__ import annotations

import ctypes
import ctypes.util
from typing import Any

import numpy as np

from shared.errors import DependencyError, EngineError

LIBRARIES = ("libcudart.so", "libcudart.so.13", "libcudart.so.12", "libcudart.so.11.0")
_TO_DEVICE, _TO_HOST = 1, 2
_Array = np.ndarray[tuple[int, ...], np.dtype[Any]]


def floats(place: ctypes.c_void_p, count: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Return an array of float32 over memory of this machine; it must not outlive that memory.

    Args:
        place: where the memory begins.
        count: how many values it holds.
    """
    return np.ctypeslib.as_array(ctypes.cast(place, ctypes.POINTER(ctypes.c_float)), shape=(count,))


class Cuda:
    """The CUDA runtime with one stream.

    Args:
        library: path or name of libcudart; None searches.
    """

    def __init__(self, library: str | None = None) -> None:
        self._names = (library,) if library else (*LIBRARIES, ctypes.util.find_library("cudart") or LIBRARIES[0])
        self._runtime: Any = None
        self.stream = ctypes.c_void_p()

    def open(self) -> None:
        """Load the library and make the stream.

        Raises:
            DependencyError: there is no CUDA runtime.
            EngineError: there is one, but no usable GPU.
        """
        for name in self._names:
            try:
                self._runtime = ctypes.CDLL(name)
                break
            except OSError:
                continue
        else:
            raise DependencyError("the CUDA runtime (libcudart) is not installed.", "Install CUDA or JetPack, or choose an ONNX profile.")
        self._call("cudaStreamCreate", ctypes.byref(self.stream))

    def compute_capability(self) -> str:
        """Return the first GPU's compute capability, e.g. `8.7`."""
        major, minor = ctypes.c_int(), ctypes.c_int()
        self._call("cudaDeviceGetAttribute", ctypes.byref(major), 75, 0)  # cudaDevAttrComputeCapabilityMajor
        self._call("cudaDeviceGetAttribute", ctypes.byref(minor), 76, 0)  # cudaDevAttrComputeCapabilityMinor
        return f"{major.value}.{minor.value}"

    def allocate(self, size: int) -> ctypes.c_void_p:
        """Return `size` bytes of device memory."""
        place = ctypes.c_void_p()
        self._call("cudaMalloc", ctypes.byref(place), ctypes.c_size_t(size))
        return place

    def free(self, place: ctypes.c_void_p) -> None:
        """Give device memory back."""
        self._call("cudaFree", place)

    def allocate_pinned(self, size: int) -> ctypes.c_void_p:
        """Return `size` bytes of this machine's memory that stay where they are, for copies to and from the device."""
        place = ctypes.c_void_p()
        self._call("cudaHostAlloc", ctypes.byref(place), ctypes.c_size_t(size), 0)
        return place

    def free_pinned(self, place: ctypes.c_void_p) -> None:
        """Give pinned memory back; arrays over it must be gone."""
        self._call("cudaFreeHost", place)

    def to_device(self, place: ctypes.c_void_p, array: _Array) -> None:
        """Copy a contiguous array to the device, in the stream's order."""
        self._copy(place, ctypes.c_void_p(array.ctypes.data), array.nbytes, _TO_DEVICE)

    def to_host(self, array: _Array, place: ctypes.c_void_p) -> None:
        """Copy from the device into a contiguous array, in the stream's order; `wait` before reading it."""
        self._copy(ctypes.c_void_p(array.ctypes.data), place, array.nbytes, _TO_HOST)

    def wait(self) -> None:
        """Wait until the stream has done everything asked of it."""
        self._call("cudaStreamSynchronize", self.stream)

    def close(self) -> None:
        """Give the stream back."""
        if self._runtime is not None:
            self._call("cudaStreamDestroy", self.stream)
            self._runtime = None

    def _copy(self, to: ctypes.c_void_p, source: ctypes.c_void_p, size: int, kind: int) -> None:
        self._call("cudaMemcpyAsync", to, source, ctypes.c_size_t(size), kind, self.stream)

    def _call(self, name: str, *arguments: Any) -> None:
        if self._runtime is None:
            raise EngineError("the CUDA runtime is not open.")
        code = getattr(self._runtime, name)(*arguments)
        if code:
            explain = self._runtime.cudaGetErrorString
            explain.restype = ctypes.c_char_p
            text = (explain(code) or b"").decode()
            raise EngineError(f"{name} failed with CUDA error {code}: {text}.", "Look at the GPU with nvidia-smi.")
