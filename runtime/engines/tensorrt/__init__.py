"""Run a network with TensorRT: built once in a process of its own, kept on disk, put on our own stream."""
