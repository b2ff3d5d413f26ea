"""What the language model of a bundle learns from: small pictures of synthetic scans, and the truth in words."""
