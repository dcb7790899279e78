"""Retraining of the robot's language model, offline: data, stages, rewards, and the way back."""

__version__ = "0.1.0"
