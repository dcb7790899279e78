"""The stages of training: pretrain, sft, dpo, reward and rl; each turns a recipe into weights."""
