"""The trainer in plain torch: full fine-tuning on one device, isolated packs, exact resume."""
