"""How trained networks are measured: real cases of the held-out fold, texts of the evaluation part."""
