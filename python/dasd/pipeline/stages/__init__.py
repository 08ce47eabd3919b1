"""The stages of a run, one file each; ``dasd.pipeline.graph`` puts a recipe's together."""
