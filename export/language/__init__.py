"""Language models of checkpoint folders as GGUF files, from which llama.cpp answers as their source does."""
