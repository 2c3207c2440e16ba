"""Makes npy/*.npy with NumPy. test_npy.cpp reads them and writes the same bytes.

python tests/data/make_npy_golden.py
"""

import pathlib

import numpy as np

FOLDER = pathlib.Path(__file__).parent / "npy"

ARRAYS = {
    "f32": np.arange(6, dtype=np.float32).reshape(2, 3) / 8 - 0.5,
    "f64": np.array([0.1, -0.0, np.inf, 5e-324]),
    "i64": np.array([[[-(2**63)], [2**63 - 1]]]),
    "i32": np.array([-(2**31), 2**31 - 1], dtype=np.int32),
    "u8": np.array([0, 1, 255], dtype=np.uint8),
    "bool": np.array([[True, False, True]]),
    "scalar": np.array(-7.25, dtype=np.float32),
    "empty": np.zeros((3, 0, 2), dtype=np.float32),
}

FOLDER.mkdir(exist_ok=True)
for name, array in ARRAYS.items():
    np.save(FOLDER / f"{name}.npy", array)
