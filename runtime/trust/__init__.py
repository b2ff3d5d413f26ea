"""What may run here: passports, their signatures, and which of a bundle's engines they allow."""
