"""What is asked: typed settings, YAML, paths, secrets, problems in words."""
