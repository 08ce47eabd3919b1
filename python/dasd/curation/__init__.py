"""Which rows there are and which are kept: sources of questions, imports, filters, selectors."""
