"""How much a network may differ from FP32 on ONNX Runtime's CPU: in export, and on each device."""

__all__ = ["LEAST_DICE", "MOST_ERROR"]

MOST_ERROR = 1e-4
"""Of float32, relative to the largest value: kernels sum in another order."""

LEAST_DICE = {"fp32": 0.995, "fp16": 0.995, "int8": 0.99}
"""Of each structure, against float32 on ONNX Runtime's CPU; fp32 elsewhere is not to be worse than fp16."""
