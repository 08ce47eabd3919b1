"""The stages of a run, one file each; ``dasd.stages.graph`` puts a recipe's together."""
