"""What all tests share: the same examples drawn everywhere, and for op tests no memory that happens to be zero."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))  # for `import laws`
pytest.register_assert_rewrite("laws")
settings.register_profile("laws", derandomize=True, deadline=None, max_examples=20, database=None)
settings.load_profile("laws")
torch.set_num_threads(1)  # the tests are many and small; those of threads set their own number


@pytest.fixture(scope="module")
def unwritten_is_nan() -> Iterator[None]:
    """Law 6: `torch.empty` is filled with NaN, so that an output nobody wrote cannot pass."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    assert torch.empty(3).isnan().all()
    yield
    torch.use_deterministic_algorithms(before)


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of the real data sets."""
    folder = os.environ.get("UNSPOOL_DATA")
    if not folder:
        pytest.skip("UNSPOOL_DATA is not set: it names the folder of the real data sets")
    return Path(folder)
