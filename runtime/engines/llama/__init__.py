"""Run a language model of llama.cpp in a process of its own: what crashes or hangs there costs one answer."""
