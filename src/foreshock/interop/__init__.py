"""Emotion vectors in other programs' formats, and others' control vectors here. One module a format.

from foreshock.interop import ControlVector, gguf, repeng
gguf.save(ControlVector.of(Steering({"calm": 0.1}, vectors)), "calm.gguf")     # for llama.cpp
with model.steered(4.0 * repeng.load("happy.gguf")):                           # made by repeng
    ...
"""

from foreshock.interop.control_vector import ControlVector

__all__ = ["ControlVector"]
