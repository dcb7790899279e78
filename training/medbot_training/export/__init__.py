"""The way back: a trained adapter becomes weights, and weights the GGUF that the robot loads."""
