"""What a bundle's language model learns from: pictures of synthetic scans, and the truth in words."""
