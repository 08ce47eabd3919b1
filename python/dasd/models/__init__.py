"""Models as files, as tokens and as engines, in this environment or in another one."""
