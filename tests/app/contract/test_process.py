"""What every process does as it starts."""

from __future__ import annotations

import gc
import importlib

import pytest

from app.contract.process import imports_without_gc


def test_garbage_is_collected_again_after_imports_also_if_one_failed() -> None:
    try:
        with pytest.raises(ModuleNotFoundError), imports_without_gc():
            importlib.import_module("no_module_of_this_name")
        assert gc.isenabled()
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()
