import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import compiler
from compiler import errors


def test_the_public_surface_is_these_names():
    assert compiler.__all__ == sorted(compiler.__all__, key=lambda name: (name.islower(), name))
    assert set(compiler.__all__) == {
        "Card",
        "Contract",
        "Example",
        "Models",
        "Options",
        "Prompt",
        "Score",
        "Step",
        "Task",
        "compile",
        "load_examples",
    }


@pytest.mark.parametrize("name", compiler.__all__)
def test_every_public_function_and_constructor_is_typed(name):
    signature = inspect.signature(getattr(compiler, name))
    assert signature.parameters
    assert all(p.annotation is not p.empty for p in signature.parameters.values())


def test_a_prompt_is_compiled_in_one_line_of_python():
    assert inspect.iscoroutinefunction(compiler.compile)
    assert "card = await compile(task, examples, Models.openai(" in (compiler.__doc__ or "")


def test_every_error_is_a_compiler_error_and_drawn_in_the_tree():
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    assert all(issubclass(kind, errors.CompilerError) for kind in kinds)
    assert all(kind.__name__ in (errors.__doc__ or "") for kind in kinds)


def test_the_compiler_never_imports_the_proxy():
    for path in Path(compiler.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not [n for n in names if n.split(".")[0] == "proxy"], path


def test_importing_the_compiler_warns_of_nothing_and_loads_no_vocabulary():
    script = "import compiler, sys; print('bpe_openai' in sys.modules)"
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr
