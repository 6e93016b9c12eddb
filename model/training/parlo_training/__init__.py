"""Trains the neural codec that Parlo carries voices with: from a folder of speech to a bundle."""
