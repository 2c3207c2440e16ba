"""Makes safetensors/python.safetensors, and checks that Python reads safetensors/invar.safetensors.

Needs PyTorch and safetensors. test_safetensors.cpp reads the first file and writes, byte for byte,
the second one:

    python tests/nn/make_safetensors_golden.py write   # safetensors/python.safetensors
    python tests/nn/make_safetensors_golden.py check   # safetensors/invar.safetensors
"""

import pathlib
import sys

import safetensors
import safetensors.torch
import torch

FOLDER = pathlib.Path(__file__).parent / "safetensors"
METADATA = {"made by": "Größe ✓", "json": '{"step": 7, "path": "a\\\\b"}'}


def tensors():
    """Names, dtypes, shapes and values that the C++ test repeats."""
    inf, nan = float("inf"), float("nan")
    return {
        "f64": torch.tensor([[0.1, -2.5, 1e300], [5e-324, inf, -0.0]], dtype=torch.float64),
        "f32": torch.arange(12, dtype=torch.float32).reshape(3, 2, 2) / 8 - 0.5,
        "bf16": torch.tensor([1.0, -2.5, 3.140625, inf, 1e-38], dtype=torch.bfloat16),
        "i64": torch.tensor([-(2**63), 2**63 - 1, 0]),
        "i32": torch.tensor([[-(2**31)], [2**31 - 1]], dtype=torch.int32),
        "u8": torch.tensor([0, 1, 255], dtype=torch.uint8),
        "bool": torch.tensor([[True, False], [False, True]]),
        "scalar": torch.tensor(-7.25),
        "empty": torch.zeros(3, 0, 2),
        "name with \"quotes\" and ✓": torch.tensor([1.0]),
        "f16": torch.tensor([1.0, -2.5, 65504.0, 6e-8, 6.1035e-05, inf, nan], dtype=torch.float16),
    }


def check():
    path = FOLDER / "invar.safetensors"
    expected = tensors()
    del expected["f16"]  # read, never written
    found = safetensors.torch.load_file(path)
    assert found.keys() == expected.keys(), found.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype, name
        assert found[name].shape == tensor.shape, name
        assert torch.equal(found[name], tensor), name
    with safetensors.safe_open(path, "pt") as file:
        assert file.metadata() == METADATA, file.metadata()
    print(f"Python reads {path}")


if __name__ == "__main__":
    if sys.argv[1:] == ["write"]:
        safetensors.torch.save_file(tensors(), FOLDER / "python.safetensors", METADATA)
    elif sys.argv[1:] == ["check"]:
        check()
    else:
        sys.exit(__doc__)
