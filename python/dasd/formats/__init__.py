"""Chat formats that are more than a template: how their tokens become the text of a response, and back."""
