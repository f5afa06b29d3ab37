"""The reference of exit codes, from their declaration."""

import ast
import inspect

from _extension.docstrings import cell


def exit_codes() -> str:
    """Markdown of a table of all exit codes of a process."""
    from semisonic.schema import ExitCode

    (tree,) = ast.parse(inspect.getsource(ExitCode)).body
    assert isinstance(tree, ast.ClassDef)
    rows = ["| code | name | meaning |", "| ---: | --- | --- |"]
    for one, text in zip(tree.body, tree.body[1:], strict=False):
        if isinstance(one, ast.Assign) and isinstance(text, ast.Expr):
            name = ast.unparse(one.targets[0])
            rows.append(f"| {ExitCode[name].value} | `{name}` | {cell(ast.literal_eval(text.value))} |")
    return "\n".join(rows)
