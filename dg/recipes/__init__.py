"""Recipes of published experiments (`*.yaml`, read by `dg.settings.recipes`), and the command that lists them."""
