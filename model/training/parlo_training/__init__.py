"""Trains the neural codec that Parlo carries voices with: from a folder of speech to a bundle."""

import os

# ONNX Runtime, which runs what was exported, reports to its vendor unless it finds this as it is loaded.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
