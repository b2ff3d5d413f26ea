"""A language model of a checkpoint folder becomes a GGUF file that llama.cpp answers from as its source does."""
