"""Run the voxel kernels on a CUDA device: compiled there, kept on disk, launched as C++ planned."""
