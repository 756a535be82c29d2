"""The run folder that these tests read."""
import pytest
from invented_run import make_run


@pytest.fixture
def run(tmp_path):
    make_run(tmp_path / "demo")
    return tmp_path / "demo"
