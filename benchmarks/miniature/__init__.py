"""How the bundled miniature models are made, measured and described; the models and their task are in ``dasd.models.miniature``."""
