"""The cases of `benchmarks.kernels`, one file per kernel: our call, its peers, and what agreeing means."""
