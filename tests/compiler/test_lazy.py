import subprocess
import sys

import pytest

from compiler.lazy import lazy


def test_what_serves_and_learns_loads_no_client_library_before_it_makes_a_call():
    code = "import sys, proxy.learning; sys.exit('openai._client' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_look_into_it_loads_it():
    before = "import sys; from compiler.lazy import lazy; m = lazy('colorsys'); asleep = type(m) is not type(sys)"
    code = f"{before}; third = m.ONE_THIRD; sys.exit(not (asleep and third and type(m) is type(sys)))"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_is_loaded_already_is_that_module():
    assert lazy("sys") is sys


def test_what_is_not_there_is_missed_at_once():
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        lazy("no_such_module")
