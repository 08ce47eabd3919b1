"""How the bundled miniature models are made, measured and described; they and their task are in
``dasd.models.miniature``.
"""
