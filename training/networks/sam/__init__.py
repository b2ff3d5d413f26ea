"""SAM, MedCLIP and what connects them: the paper's own configuration, written anew, fed from checkpoints on disk."""
