"""How the weights were made: synthetic heads, networks, training."""
