"""Tables of methods from runs, beside the published numbers: what may stand side by side, and how sure a difference is.

`results`: one run. `tables`: rows and columns. `bootstrap`, `differences`: confidence. `published`, `published_rows`,
`paper_table`: the papers' numbers. `text`, `picture`: Markdown, CSV, LaTeX and PNG. `stored_runs`: reading MLflow.
"""
