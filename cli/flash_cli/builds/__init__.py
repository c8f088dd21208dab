"""A project becomes artifacts, locks and a manifest: what `flash build`, `deploy` and `dev` bring to a platform."""
