"""Training, sampling and scoring on a GPU, beside what transformers and TRL do with the same model and data."""
