"""What runs on a cluster, tried without one: several ranks over gloo, vLLM's CPU build, DeepSpeed, LoRA and Ray."""
