"""The guide for candidates: facts with their sources, made into static pages that need no server and no script."""
