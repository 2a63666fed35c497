"""Tables of methods from runs, beside the published numbers: what may stand side by side, and how sure a difference is.

`dg.compare` is the command. `results`: one run. `tables`: rows and columns. `bootstrap`, `differences`: confidence.
`published`, `beside`, `paper_table`: the papers' numbers. `sheets`, `text`, `picture`: Markdown, CSV, LaTeX and PNG.
`stored_runs`: reading MLflow.
"""
