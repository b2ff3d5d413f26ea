"""SAM, MedCLIP and what connects them: the paper's own configuration, fed from checkpoints on disk."""
