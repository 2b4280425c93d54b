"""The pages that people use, and what their own programs may post."""
