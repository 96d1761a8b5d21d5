"""Off-screen OpenGL (EGL): the context, the models on it, uniforms and reading back."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import moderngl
import numpy as np

from amodal_perception_ros.simulation.assets.meshes import VERTEX, Model

_LAYOUT = "3f 3f 2f 4f 1f 1f 1f"
_LAYOUT_OF_POSITION = f"3f {VERTEX.itemsize - 12}x"


class RendererError(RuntimeError):
    """OpenGL cannot draw the pictures on this machine: there is none off-screen, or the pictures are too large."""


def create_context() -> moderngl.Context:
    """Return an off-screen OpenGL context (EGL).

    Raises:
        RendererError: EGL or OpenGL 3.3 is missing; the message names the packages.
    """
    os.environ.setdefault("LP_NUM_THREADS", "0")
    try:
        options: dict[str, Any] = {"backend": "egl", "libgl": "libGL.so.1", "libegl": "libEGL.so.1"}
        return moderngl.create_context(standalone=True, require=330, **options)
    except Exception as error:
        raise RendererError(
            f"no off-screen OpenGL 3.3 context through EGL ({error}); the simulator needs Mesa or a GPU driver: on "
            "Debian and Ubuntu install libegl1 libegl-mesa0 libgl1 libgl1-mesa-dri"
        ) from error


class Graphics:
    """A context and the models uploaded to it; every model and vertex array is made once.

    Raises:
        RendererError: no off-screen OpenGL on this machine.
    """

    def __init__(self) -> None:
        self.context = create_context()
        self._buffers: dict[int, tuple[Model, moderngl.Buffer]] = {}
        self._arrays: dict[tuple[int, ...], moderngl.VertexArray] = {}

    def release(self) -> None:
        """Free the models and the context."""
        with self.context:
            for array in self._arrays.values():
                array.release()
            for _, buffer in self._buffers.values():
                buffer.release()
        self._arrays.clear()
        self._buffers.clear()
        self.context.release()

    @contextmanager
    def holding(self, width: int, height: int) -> Iterator[moderngl.Context]:
        """Enter the context to make the framebuffers of pictures of a size [px]; free everything when one fails.

        Raises:
            RendererError: OpenGL cannot hold them; the message names its limit.
        """
        try:
            with self.context as context:
                yield context
        except moderngl.Error as error:
            with self.context:
                limit = self.context.info["GL_MAX_TEXTURE_SIZE"]
            self.release()
            raise RendererError(
                f"OpenGL cannot hold pictures of {width} x {height} shaded points ({error}); its largest picture is "
                f"{limit} x {limit}: use a smaller width, height or supersample"
            ) from error

    def array(self, program: moderngl.Program, model: Model) -> moderngl.VertexArray:
        """Return a model as input of a program: the attributes of `meshes.VERTEX` that the program uses."""
        key = (program.glo, id(model))
        if key not in self._arrays:
            content = [(self._buffer(model), _LAYOUT, *(VERTEX.names or ()))]
            self._arrays[key] = self.context.vertex_array(program, content, skip_errors=True)
        return self._arrays[key]

    def moving_array(self, program: moderngl.Program, model: Model, next_model: Model) -> moderngl.VertexArray:
        """Return a model as input of a program, with the positions of another one of equal layout as `next_position`.

        Raises:
            ValueError: the two models have different numbers of vertices.
        """
        key = (program.glo, id(model), id(next_model))
        if key not in self._arrays:
            if len(model.vertices) != len(next_model.vertices):
                raise ValueError(
                    f"poses of one thing must have equal vertices: {len(model.vertices)} and {len(next_model.vertices)}"
                )
            content = [
                (self._buffer(model), _LAYOUT, *(VERTEX.names or ())),
                (self._buffer(next_model), _LAYOUT_OF_POSITION, "next_position"),
            ]
            self._arrays[key] = self.context.vertex_array(program, content, skip_errors=True)
        return self._arrays[key]

    def _buffer(self, model: Model) -> moderngl.Buffer:
        known = self._buffers.get(id(model))
        if known is None:
            buffer = self.context.buffer(np.ascontiguousarray(model.vertices).tobytes())
            known = self._buffers[id(model)] = (model, buffer)
        return known[1]


def set_uniforms(program: moderngl.Program, **values: object) -> None:
    """Set those uniforms that the program uses; arrays are written as float32."""
    for name, value in values.items():
        if name in program:
            uniform: Any = program[name]
            if isinstance(value, np.ndarray):
                uniform.write(np.ascontiguousarray(value, "f4").tobytes())
            else:
                uniform.value = value


def read_frame(frame: moderngl.Framebuffer, components: int, dtype: str) -> np.ndarray:
    """Read a framebuffer as (height, width, components), first row on top; `dtype` is "f1" (uint8) or "f4"."""
    data = frame.read(components=components, dtype=dtype, alignment=1)
    kind = np.uint8 if dtype == "f1" else np.float32
    return np.frombuffer(data, kind).reshape(frame.height, frame.width, components)[::-1].copy()
