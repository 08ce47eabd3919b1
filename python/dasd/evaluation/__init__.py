"""What is right, and how sure that is: evaluators, verifiers, the sandbox, statistics."""
