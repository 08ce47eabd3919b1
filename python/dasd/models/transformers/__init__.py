"""Inference in this process on Hugging Face transformers. Imported only once the backend is asked for."""
